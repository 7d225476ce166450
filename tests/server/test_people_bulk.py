"""Many people at once: lists as CSV, leavers, accounts that go, two that become one."""

from __future__ import annotations

import csv
import json
import re

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select, text

from tallystick.common.errors import TallyError
from tallystick.server.accounts import firms, people, sessions
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.people import Keeper, canonical
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError
from tallystick.server.joining import bulk, keeping, leaving, merging, people_files
from tallystick.server.joining.bulk import ImportWish
from tallystick.server.joining.keeping import PersonWish, Ways
from tallystick.server.operating.cli import server as commands
from tallystick.server.rules import tables
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential
from tallystick.server.signing_in import inviting, recovery
from tallystick.server.store import audit
from tallystick.server.store.models import AuditEntry, PersonRow
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.house import HERE, House, refused
from tests.server.portal_driver import Browser

FIRM = "\n".join(
    ["login,name,email,role,groups,active"]
    + [f"user{n},User {n},user{n}@example.org,,staff; floor {n % 3},yes" for n in range(300)]
)


def ways(house: House, caller: str = "console", by: Keeper = Keeper.HERE) -> Ways:
    who = Caller(caller, house.firm.id, Role.ADMIN, caller, "")
    return Ways(house.state.ring, house.firm, who, house.clock(), by)


def import_(house: House, file: str | bytes, /, **wish) -> bulk.Planned:
    content = file.encode() if isinstance(file, str) else file
    return bulk.take_in(
        house.state.database, ways(house), people_files.read(content), ImportWish(**wish)
    )


def everybody(house: House) -> dict[str, people.KnownPerson]:
    with house.state.database.read() as connection:
        return {one.login: one for one in people.everybody(connection, house.firm.id)}


def acts(house: House, action: str) -> list[tuple[str, dict]]:
    with house.state.database.read() as connection:
        rows = connection.execute(
            select(AuditEntry.subject, AuditEntry.detail)
            .where(AuditEntry.action == action)
            .order_by(AuditEntry.number)
        )
        return [(row.subject, json.loads(row.detail or "{}")) for row in rows]


def administrator(house: House, login: str = "boss") -> people.KnownPerson:
    with house.write() as connection:
        return keeping.add(
            connection, ways(house), PersonWish(login, role=PersonRole.ADMINISTRATOR)
        )


def test_a_firm_of_300(house):
    plan = import_(house, FIRM, dry_run=True)
    assert len(plan.added) == 300
    assert everybody(house) == {}
    assert import_(house, FIRM) == plan
    known = everybody(house)
    assert len(known) == 300
    assert known["user7"].groups == ("staff", "floor 1")
    assert known["user7"].email == "user7@example.org"
    assert import_(house, FIRM).unchanged == 300
    assert acts(house, "people-imported")[0][1]["added"] == 300
    with house.state.database.read() as connection:
        assert all(chain.broken_at is None for chain in audit.check(connection, house.state.ring))


def test_a_dry_run_streams_nothing(house):
    """What is rolled back must not have been told of to whoever listens to the log."""
    heard: list = []
    house.state.database.listen(heard.extend)
    import_(house, FIRM, dry_run=True)
    assert heard == []


def test_every_bad_line_is_told_and_nothing_is_done(house):
    administrator(house)
    wrong = (
        "login,email,role,active,groups\n"
        "good,good@example.org,,,\n"
        ",nobody@example.org,,,\n"
        "ann,not an address,,,\n"
        "bob,,chief,,\n"
        "GOOD,,,,\n"
        "cat,,,perhaps,\n"
        "boss,,user,,\n"
        "dan,a@example.org,user,yes,x,more\n"
        '"eve\x07",,,,\n'
    )
    with pytest.raises(ApiError) as caught:
        import_(house, wrong)
    error = caught.value
    assert [(one.number, one.code) for one in error.entries] == [
        (3, "bad-login"),
        (4, "bad-address"),
        (5, "bad-role"),
        (6, "bad-line"),
        (7, "bad-line"),
        (8, "last-administrator"),
        (9, "bad-line"),
        (10, "bad-login"),
    ]
    assert "Line 3" in error.what and "7 more" in error.what
    assert error.kept == people_files.NOBODY
    assert set(everybody(house)) == {"boss"}


@pytest.mark.parametrize(
    "content",
    [
        "User Name;E-Mail;First name;Last name\nann;ann@example.org;Ann;Ö\n".encode(),
        "login\temail\tname\nann\tann@example.org\tAnn Ö\n".encode("utf-16"),
        "sep=;\nlogin;email;name\nann;ann@example.org;Ann Ö\n".encode("cp1252"),
        '\ufeff"login","email","name"\r\n"ann","ann@example.org","Ann Ö"\r\n'.encode(),
        "# our people\nUPN,mail,displayName\n\nann,ann@example.org,Ann Ö,\n,,\n".encode(),
    ],
)
def test_what_programs_write_is_read(house, content):
    import_(house, content)
    person = everybody(house)["ann"]
    assert (person.full_name, person.email) == ("Ann Ö", "ann@example.org")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"\n\n", 422),
        (b"name,email\nx,y\n", 422),
        (b"\xff\xfe\x00", 422),
        (b"x" * 5_000_000, 422),
        (b"login\n" + b"a\n" * (people_files.MOST_PROBLEMS + 10), 422),
    ],
)
def test_what_is_no_list(content, status):
    with pytest.raises(ApiError) as caught:
        people_files.read(content)
    assert caught.value.status == status


def test_an_empty_cell_leaves_and_a_hyphen_takes_away(house):
    import_(house, "login,name,email,groups\nann,Ann,ann@example.org,a; b\n")
    assert import_(house, "login,name,email,groups\nANN,,,\n").unchanged == 1
    plan = import_(house, "login,name,email,groups\nann,-,-,-\n")
    assert plan.changed["ann"]["email"] == "a…@example.org → none"
    person = everybody(house)["ann"]
    assert (person.full_name, person.email, person.groups) == ("", None, ())


def test_a_list_of_everybody(house):
    boss = administrator(house)
    import_(house, FIRM)
    house.change("user1", source="ldap")
    few = "\n".join(FIRM.splitlines()[:281])  # 20 of 300 are not in it
    assert len(import_(house, few, complete=True, dry_run=True).left) == 20
    assert not any(one.disabled for one in everybody(house).values())
    left = import_(house, few, complete=True).left
    known = everybody(house)
    assert sorted(left) == sorted(f"user{n}" for n in range(280, 300))
    assert all(known[login].disabled for login in left)
    assert not known["boss"].disabled and boss.login not in left
    # A list that was cut off is not taken for a firm that shrank.
    with refused("too-many-leave"):
        import_(house, "\n".join(FIRM.splitlines()[:100]), complete=True)
    assert sum(one.disabled for one in everybody(house).values()) == 20
    import_(house, "\n".join(FIRM.splitlines()[:100]), complete=True, leavers_at_most=100)
    assert not everybody(house)["user1"].disabled


def test_whom_a_directory_keeps_is_not_changed_here(house):
    import_(house, "login,name\nann,Ann\n")
    house.change("ann", source="scim")
    assert import_(house, "login,name,active\nann,Ann,yes\n").unchanged == 1
    for line in ("ann,Other,yes", "ann,Ann,no"):
        with pytest.raises(ApiError) as caught:
            import_(house, f"login,name,active\n{line}\n")
        assert caught.value.entries[0].code == "kept-by-directory"
    ann = everybody(house)["ann"]
    with house.write() as connection, refused("kept-by-directory"):
        leaving.remove(connection, ways(house), ann)
    with house.write() as connection:
        # Roles are given here, unless policy names groups for them.
        keeping.change(connection, ways(house), ann.id, PersonWish(role=PersonRole.SUPPORT))
    house.policy(group_roles={"Bosses": "administrator"})
    with house.write() as connection, refused("kept-by-directory"):
        keeping.change(connection, ways(house), ann.id, PersonWish(role=PersonRole.USER))


def test_leavers_lose_everything_at_once(portal):
    """Session, second session, remembered browser, app, help code, card, pending sign-in."""
    portal.policy(remember_device_days=30, methods=["card", "totp"])
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    browser.sign_in("ann")
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(f"/second/totp/{key}")
    code = totp.at(int(portal.clock()))
    browser.post(f"/second/totp/{key}", code=code, remember="yes")
    portal.clock.advance(60)
    waiting = Browser(portal.url).sign_in("ann")
    waiting.get(f"/second/totp/{key}")
    headers = bearer(add_credential(portal.settings, "admin", "script"))
    with httpx.Client(base_url=portal.url, headers=headers, timeout=60) as http:
        found = http.get("/v1/people?q=ann").json()["people"][0]
        whole = http.get(f"/v1/people/{found['id']}").json()
        assert whole["sessions"] == 1 and [one["kind"] for one in whole["methods"]] == ["totp"]
        assert http.post(f"/v1/people/{found['id']}/leave").status_code == 204
        after = http.get(f"/v1/people/{found['id']}").json()
    assert after["disabled"] and not after["has_password"] and not after["methods"]
    assert after["methods"] == [] and after["sessions"] == 0
    assert browser.get("/").heading == "Sign in"
    waiting.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    assert waiting.page.status_code == 401
    assert Browser(portal.url).sign_in("ann").page.status_code == 401


def left_over(house: House, person_id: int) -> dict[str, int]:
    """Rows of any table that still name the person."""
    found = {}
    with house.state.database.read() as connection:
        for table in PersonRow.metadata.sorted_tables:
            for column in table.columns:
                if any(key.target_fullname == "person.id" for key in column.foreign_keys):
                    query = f"SELECT count(*) FROM {table.name} WHERE {column.name} = :n"
                    count = connection.execute(text(query), {"n": person_id}).scalar_one()
                    if count:
                        found[f"{table.name}.{column.name}"] = count
    return found


def test_nothing_names_a_leaver_any_more(house):
    """Whatever table comes later and names people: this fails until leaving empties it, too."""
    boss = administrator(house)
    ann = house.person("ann")
    house.policy(remember_device_days=30)
    signed = house.sign_in(remember=True)
    assert house.session(signed.session) is not None
    house.first()
    with house.write() as connection:
        recovery.console_help(house.state, connection, ann, house.clock())
        recovery.new_request(connection, ann, boss, now=house.clock(), life_s=600)
    assert {"factor.person_id", "session.person_id", "remembered_device.person_id"} <= set(
        left_over(house, ann.id)
    )
    with house.write() as connection:
        leaving.leave(connection, ways(house), [house.known("ann")])
    assert left_over(house, ann.id) == {}
    assert house.session(signed.session) is None
    with refused("wrong-password"):
        house.first()
    assert acts(house, "person-left") == [("ann", {})]


def test_cards_of_a_leaver_verify_nothing_until_the_desk_has_them(server, wrong_code):
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    headers = bearer(server.admin)
    ann = server.client.get("/v1/people?q=ann", headers=headers).json()["people"][0]
    assert server.client.post(f"/v1/people/{ann['id']}/leave", headers=headers).status_code == 204
    assert server.reason(hotp(seed, 1, 6)) != "ok"
    card = server.get("/v1/cards/1000000001").json()
    assert (card["status"], card["user"]) == ("lost", None)
    found = {"status": "registered"}
    path = "/v1/cards/1000000001"
    assert server.client.put(f"{path}/status", json=found, headers=headers).status_code == 200
    assert server.assign("1000000001", "bob").status_code == 200


def test_the_last_administrator_stays(house):
    boss = administrator(house)
    for work in (
        lambda connection: leaving.leave(connection, ways(house), [boss]),
        lambda connection: leaving.remove(connection, ways(house), boss),
        lambda connection: keeping.change(
            connection, ways(house), boss.id, PersonWish(role=PersonRole.USER)
        ),
        lambda connection: keeping.change(
            connection, ways(house), boss.id, PersonWish(disabled=True)
        ),
    ):
        with house.write() as connection, refused("last-administrator"):
            work(connection)
    other = administrator(house, "other")
    with house.write() as connection, refused("own-account"):
        leaving.leave(connection, ways(house, f"person:{other.id}"), [other])
    # Two at once, of two.
    with house.write() as connection, refused("last-administrator"):
        leaving.leave(connection, ways(house), [boss, other])
    with house.write() as connection:
        leaving.leave(connection, ways(house), [boss])


def test_a_number_is_never_given_again(house):
    """Entries of the audit log call people by it."""
    house.person("ann", enrolled=False)
    ann = house.known("ann")
    with house.write() as connection:
        leaving.remove(connection, ways(house), ann)
    assert house.person("bob", enrolled=False).id > ann.id
    with house.write() as connection:
        leaving.remove(connection, ways(house), house.known("bob"))
        assert people.ensure(connection, house.firm.id, "cat", house.clock()) > ann.id + 1
    assert [subject for subject, _ in acts(house, "person-deleted")] == ["ann", "bob"]


def test_the_same_login_later_is_somebody_else(house):
    ann = house.person("ann")
    signed = house.sign_in()
    with house.write() as connection:
        leaving.remove(connection, ways(house), house.known("ann"))
    again = house.person("ann", enrolled=False)
    assert again.id != ann.id and house.session(signed.session) is None
    with house.state.database.read() as connection:
        assert sessions.of_person(connection, again.id, house.clock()) == []


def test_whoever_comes_back_has_nothing_of_before(house):
    house.person("ann")
    with house.write() as connection:
        leaving.leave(connection, ways(house), [house.known("ann")])
    import_(house, "login,active\nann,yes\n")
    ann = house.known("ann")
    assert not ann.disabled and not ann.has_password and ann.enrolled
    with refused("wrong-password"):
        house.first()


def test_two_accounts_of_one_person(server):
    seed = server.card(user="ann.l")
    server.card("1000000002", user="ann")
    headers = bearer(server.admin)

    def person(login: str) -> dict:
        found = server.client.get(f"/v1/people?q={login}", headers=headers).json()["people"]
        return next(one for one in found if one["login"] == login)

    goes = person("ann.l")
    body = {"name": "Ann L", "email": "ann@example.org", "groups": ["staff"]}
    path = f"/v1/people/{goes['id']}"
    assert server.client.patch(path, json=body, headers=headers).status_code == 200
    path = f"/v1/people/{person('ann')['id']}/merge"
    answer = server.client.post(path, json={"goes": "ann.l"}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert {name: answer.json()[name] for name in body} == body
    assert server.client.get(f"/v1/people/{goes['id']}", headers=headers).status_code == 404
    assert server.reason(hotp(seed, 0, 6), user="ann") == "ok"
    assert server.client.post(path, json={"goes": "ann"}, headers=headers).status_code == 422
    assert server.client.post(path, json={"goes": "ann.l"}, headers=headers).status_code == 404


def test_both_are_told_that_they_became_one(house, monkeypatch):
    """Whoever of the two did not want it is to know, at his addresses of before."""
    told = []
    monkeypatch.setattr(
        keeping, "notify", lambda *_, person, what, **__: told.append((person.email, str(what)))
    )
    with house.write() as connection:
        stays, goes = (
            keeping.add(
                connection, ways(house), PersonWish(login=login, email=f"{login}@x.example")
            )
            for login in ("puppet", "ann")
        )
        merging.merge(connection, ways(house), stays, goes)
    assert told == [
        ("ann@x.example", "it became one with the account puppet"),
        ("puppet@x.example", "the account ann became one with it"),
    ]


def test_a_card_that_comes_over_is_to_be_confirmed_anew(server):
    """Whoever the account is of has not shown it beside his password."""
    server.card(user="ann.l")
    server.card("1000000002", user="ann")
    with opened(server.settings) as parts, parts.database.write() as connection:
        connection.execute(text("UPDATE assignment SET confirmed_at = 1"))
        firm = firms.by_id(connection, 1)
        who = Caller("console", firm.id, Role.ADMIN, "console", "")
        both = (people.by_login(connection, firm.id, login) for login in ("ann", "ann.l"))
        merging.merge(connection, Ways(parts.ring, firm, who, server.clock()), *both)
        found = connection.execute(
            text(
                "SELECT serial, confirmed_at FROM assignment JOIN card ON card.id = card_id "
                "ORDER BY serial"
            )
        ).all()
    assert found == [("1000000001", None), ("1000000002", 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(range(256)) * 4, "not a text"),
        (b"PK\x03\x04\x14\0" + bytes(40), "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "workbook"),
        (b"login\n" + b"x" * 300_000, "a line of more than"),
    ],
)
def test_what_is_no_text_is_said_in_words_of_people(content, words):
    with pytest.raises(ApiError, match=words) as caught:
        people_files.read(content)
    assert "container" not in caught.value.kept and "maker" not in caught.value.todo


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("vouched", [0, 1])
def test_whether_the_firm_vouches_for_an_address_goes_with_it(house, kept, vouched):
    """Services hear of it, and people sign in by it."""
    ann, bob = house.person("ann", enrolled=False), house.person("bob", enrolled=False)
    house.change("bob", email="bob@example.org", email_verified=vouched)
    house.change("ann", email="ann@example.org" if kept else None, email_verified=1 - vouched)
    if kept:
        house.change("bob", source="ldap", external_id="u-1")
    with house.write() as connection:
        merging.merge(connection, ways(house), house.known("ann"), house.known("bob"))
        query = select(PersonRow.email, PersonRow.email_verified).where(PersonRow.id == ann.id)
        assert tuple(connection.execute(query).one()) == ("bob@example.org", vouched)
    assert left_over(house, bob.id) == {}


def test_what_is_not_merged(house):
    boss, ann, bob = administrator(house), house.person("ann"), house.person("bob", enrolled=False)
    with house.write() as connection, refused("other-role"):
        merging.merge(connection, ways(house), ann, boss)
    with house.write() as connection, refused("own-account"):
        merging.merge(connection, ways(house, f"person:{ann.id}"), bob, ann)
    # What the account that goes had enrolled is not the other's.
    with house.write() as connection:
        merged = merging.merge(connection, ways(house), bob, ann)
    assert not merged.enrolled and left_over(house, ann.id) == {}
    house.change("bob", source="ldap")
    cat = house.person("cat", enrolled=False)
    house.change("cat", source="ldap")
    with house.write() as connection, refused("kept-by-directory"):
        merging.merge(connection, ways(house), house.known("bob"), house.known("cat"))
    # What a directory keeps goes on in the account that stays.
    house.change("bob", source="")
    house.change("cat", external_id="u-1", full_name="Cat")
    for barred in ("bob", "cat"):  # neither lets a leaver in again, nor somebody out
        house.change(barred, disabled_at=1)
        with house.write() as connection, refused("one-is-barred"):
            merging.merge(connection, ways(house), house.known("bob"), house.known("cat"))
        house.change(barred, disabled_at=None)
    with house.write() as connection:
        merged = merging.merge(connection, ways(house), house.known("bob"), house.known("cat"))
    assert (merged.source, merged.external_id, merged.full_name) == (Keeper.LDAP, "u-1", "Cat")
    assert merged.handle == cat.handle


WORDS = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" =+-@"), max_size=20
).map(str.strip)


@pytest.mark.parametrize("cell", ["=1", "'=1", "''=1", "'", "''", "'tis", "o'brien", "@x", "-"])
def test_an_own_apostrophe_is_told_from_the_mark(cell):
    (written,) = next(csv.reader([tables.line([cell])]))
    assert not written.startswith(tables.FORMULA) and tables.bare(written) == cell


def test_one_apostrophe_goes_and_no_other():
    """Also where a person wrote the file, or another program."""
    assert [tables.bare(one) for one in ("'=1", "''=1", "'tis", "=1")] == [
        "=1",
        "'=1",
        "'tis",
        "=1",
    ]


@given(rows=st.lists(st.tuples(WORDS.filter(bool), WORDS, WORDS), max_size=5))
@example(rows=[("'=", "'", "''+")])
@example(rows=[("0", "", "-")])  # a group of that name is written as one of several
def test_what_is_exported_is_read_back(rows):
    """Whatever names people have; and no cell begins like a formula."""
    written = [tables.line(["login", "name", "groups"])]
    expected = {}
    for login, name, group in rows:
        if canonical(login) in expected or login.lower().startswith(("#", "sep=")):
            continue
        bare = re.sub(r"[;|]", "", group).strip()
        expected[canonical(login)] = (login, name or "", (bare,) if bare else ())
        written.append(tables.line([login, name or "-", f"{bare};" if bare else "-"]))
    for line in written[1:]:
        for cell in next(csv.reader([line])):
            assert cell == "-" or not cell.startswith(tables.FORMULA)
    found = people_files.read("".join(written).encode())
    assert found.problems == []
    got = {
        canonical(one.login): (one.login, one.wanted.name, one.wanted.groups) for one in found.lines
    }
    for key, (login, name, groups) in expected.items():
        assert got[key] == (login, "" if name == "-" else name, groups)


def test_the_console(server, tmp_path):
    file = tmp_path / "people.csv"
    file.write_text(FIRM)
    words = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]

    def run(*more: str):
        return CliRunner().invoke(commands, ["person", *more, *words])

    done = run("import", str(file), "--dry-run")
    assert "300 added" in done.output and "dry run" in done.output
    assert json.loads(run("import", str(file), "--json").stdout)["unchanged"] == 0
    assert len(json.loads(run("list", "--json").stdout)) == 300
    exported = run("export").stdout
    assert exported.count("\n") == 301
    file.write_text(exported)
    assert "300 as before" in run("import", str(file)).output
    file.write_text("login,email\nann,wrong\n,\nbob,also wrong\n")
    done = run("import", str(file))
    assert isinstance(done.exception, TallyError) or done.exit_code
    assert "ann" in done.output and "bob" in done.output
    assert "left" in run("leave", "user1").output
    assert "deleted" in run("delete", "user2").output
    assert "merged" in run("merge", "user3", "user4").output
    assert len(json.loads(run("list", "--json").stdout)) == 298
    assert "kept" not in run("set", "user5", "--kept-by", "scim").output
    assert run("set", "user5", "--name", "Other").exit_code
    assert run("set", "user5", "--kept-by", "here", "--name", "Other").exit_code == 0


def test_firms_are_apart(server):
    with opened(server.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=0, actor="test")
    server.make = add_credential(server.settings, "admin", "x", firm="other")
    server.card()
    ann = server.client.get("/v1/people?q=ann", headers=bearer(server.admin)).json()["people"][0]
    path, headers = f"/v1/people/{ann['id']}", bearer(server.make)
    for method, url, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/leave", None),
        ("POST", f"{path}/merge", {"goes": "ann"}),
        ("POST", f"{path}/release", None),
        ("POST", f"{path}/unlock", None),
        ("POST", f"{path}/end-sessions", None),
        ("DELETE", f"{path}/methods/card/1000000001", None),
    ):
        answer = server.client.request(method, url, json=body, headers=headers)
        assert answer.status_code == 404, (method, url)
    assert "ann" not in server.client.get("/v1/people/export", headers=headers).text
    body = {"csv": "login,active\nann,no\n"}
    assert server.client.post("/v1/people/import", json=body, headers=headers).status_code == 200
    assert server.get("/v1/cards/1000000001").json()["user"] == "ann"


def test_people_by_pages(server):
    body = {"csv": FIRM}
    headers = bearer(server.admin)
    assert server.client.post("/v1/people/import", json=body, headers=headers).json()["added"]
    seen, after = [], ""
    while True:
        page = server.client.get(f"/v1/people?limit=70&after={after}", headers=headers).json()
        seen += [one["login"] for one in page["people"]]
        if not page["more"]:
            break
        after = seen[-1]
    assert len(seen) == len(set(seen)) == 300


def test_columns_that_are_not_read_are_named(house):
    """What `export` writes beyond what can be changed needs no word."""
    text = (
        "user,Display Name,e-mail adress,Mail,name,made,\n"
        "ann2,Ann Two,wrong@example.org,ann2@example.org,Other Name,2026-01-01,\n"
    )
    planned = import_(house, text)
    assert planned.unread == ("e-mail adress", "name")
    assert planned.added == ["ann2"]
    assert everybody(house)["ann2"].full_name == "Ann Two"
    assert import_(house, "login\nbob2\n").unread == ()


def test_the_api_names_columns_that_are_not_read(server):
    body = {"csv": "login,Telefon,T\u202ex\nzoe,123,4\n", "dry_run": True}
    headers = bearer(server.admin)
    answer = server.client.post("/v1/people/import", json=body, headers=headers).json()
    assert answer["unread"] == ["Telefon", "Tx"] and answer["added"] == ["zoe"]


@pytest.mark.parametrize("enrolled", [True, False])
def test_nobody_lets_a_leaver_in_again_alone(house, enrolled):
    """Who leaves and is enabled again, has his account: one administrator does not open it."""
    house.person("ann", enrolled=enrolled)
    with house.write() as connection:
        leaving.leave(connection, ways(house), [house.known("ann")])
        number = people.by_login(connection, 1, "ann").id
        back = PersonWish(disabled=False, email="own@home.example")
        keeping.change(connection, ways(house), number, back)
    ann = house.known("ann")
    assert not (ann.disabled or ann.has_password or ann.left)
    assert not inviting.may_be_invited(house.firm, ann)
    more = {"actor": "test", "now": house.clock()}
    with house.write() as connection, refused("not-invited"):
        inviting.print_letter(house.state, connection, house.firm, ann, **more)
    with house.write() as connection:
        invited = select(PersonRow.id).where(inviting.invitable(house.firm, house.clock()))
        assert connection.scalars(invited).all() == []
        code = recovery.console_help(house.state, connection, ann, house.clock())
    token = recovery.with_help(house.state, "default", "ann", code, HERE)
    session = recovery.reset(house.state, "default", token, "another good one", HERE)
    assert bool(session) is enrolled  # it can only enrol, then
    if enrolled:
        with refused("no-usable-method"):
            house.first("ann", "another good one")


def test_an_invitation_of_before_does_not_recover(house):
    """Whoever printed it would have the account of somebody who uses a card since."""
    with house.write() as connection:
        ann = keeping.add(connection, ways(house), PersonWish(login="ann"))
        more = {"actor": "test", "now": house.clock()}
        letter = inviting.print_letter(house.state, connection, house.firm, ann, **more)
        people.note_enrolment(connection, ann.id, house.clock())
    with refused("wrong-help-code"):
        recovery.with_help(house.state, "default", "ann", letter.code, HERE)


def test_a_large_firm_is_exported_piece_by_piece(house, monkeypatch):
    """Everybody once, with their methods; and nobody waits meanwhile."""
    import_(house, FIRM)
    database = house.state.database
    whole = "".join(people_files.written(database, house.firm.id))
    monkeypatch.setattr(people_files, "BATCH", 7)
    pieces = people_files.written(database, house.firm.id)
    first = [next(pieces), next(pieces)]
    assert first[1].count("\n") == 7
    with (
        database.write() as connection
    ):  # who comes meanwhile, before where it is read, is left out
        people.ensure(connection, house.firm.id, "0first", 0)
    assert "".join([*first, *pieces]) == whole
    assert whole.count("\n") == 301


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_that_was_cut_off_is_refused_whole(end):
    """At every place: it is refused, or ends with a whole line."""
    text = end.join(
        (
            "login,name,email,role,groups,active",
            "ann,Ann Smith,ann@example.org,auditor,staff;floor,yes",
            'bob,"Bob, Jr",bob@example.org,user,"a;b",no',
            "",
        )
    )
    whole = list(people_files.read(text.encode()).lines)
    for cut in range(len(text)):
        try:
            found = people_files.read(text[:cut].encode())
        except ApiError:
            continue
        lines = list(found.lines)
        assert found.problems or lines == whole[: len(lines)], text[:cut][-30:]


@pytest.mark.parametrize("cell", ['"staff', '"staff; floor, yes'])
def test_a_quote_that_nobody_closes_swallows_nobody(cell):
    """Groups may have line ends between them: the rest of the list would be this person's."""
    text = f"login,groups\nann,{cell}\nbob,b\ncy,c\n"
    with pytest.raises(ApiError, match=r"Line 2 has a quote that nobody closes"):
        people_files.read(text.encode())


def test_a_short_last_line_with_an_end_is_as_it_is():
    found = people_files.read(b"login,name,email\nann,Ann\nbob\n")
    assert [line.login for line in found.lines] == ["ann", "bob"] and not found.problems
    found = people_files.read(b"login,name,email\nann\nbob")  # as its writer does it
    assert [line.login for line in found.lines] == ["ann", "bob"]
