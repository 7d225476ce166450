"""A firm's LDAP directory, with a real slapd: who is in it, who left, whose password it is, and
what happens while it is down."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import event

from tallystick.common.errors import BadInputError, RefusedError, UnreachableError
from tallystick.server.accounts import people
from tallystick.server.accounts.people import Keeper
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.directory import ldap_directory
from tallystick.server.directory.ldap_directory import DirectoryEntry, LdapDirectory
from tallystick.server.directory.settings import DirectorySettings, directories_from
from tallystick.server.joining import keeping, reading
from tallystick.server.joining.reading import read_due, read_one
from tallystick.server.operating.cli import server as commands
from tallystick.server.operating.doctor import DoctorFinding, examine
from tallystick.server.signing_in import recovery
from tallystick.server.signing_in.login import PendingSignIn, Signed
from tallystick.server.state import open_state
from tests import needs
from tests.server.house import HERE, House, refused
from tests.server.slapd import BASE, READER_DN, Slapd

pytestmark = [needs.slapd.mark, needs.python_ldap.mark]


@pytest.fixture
def slapd(tmp_path):
    folder = tmp_path / "slapd"
    folder.mkdir()
    made = Slapd(folder).start()
    yield made.fill()
    made.stop()


def directory(slapd: Slapd, **more) -> LdapDirectory:
    values = {
        "url": slapd.url, "ca_file": str(slapd.folder / "ca.pem"), "base": BASE,
        "bind_dn": READER_DN, "password_file": "password", "page_size": 7,
    }  # fmt: skip
    return LdapDirectory(DirectorySettings(**values | more).with_secret(slapd.folder))


def read(house: House, slapd: Slapd, **more) -> reading.TakenOver:
    dry_run = more.pop("dry_run", False)
    state = house.state
    return read_one(
        state.database, state.ring, house.firm, directory(slapd, **more), house.clock(),
        dry_run=dry_run,
    )  # fmt: skip


def everybody(house: House) -> dict[str, people.KnownPerson]:
    with house.state.database.read() as connection:
        return {one.login: one for one in people.everybody(connection, house.firm.id)}


def test_more_people_than_one_answer_holds(slapd, house):
    """slapd gives 20 entries at most in one answer: they come in pages, or not at all."""
    for number in range(45):
        slapd.person(f"user{number:02}")
    assert len(read(house, slapd).planned.added) == 45
    person = everybody(house)["user07"]
    assert (person.full_name, person.email) == ("User07", "user07@example.org")
    assert person.source is Keeper.LDAP and len(person.external_id) == 36
    assert read(house, slapd).planned.unchanged == 45
    import ldap

    with (
        directory(slapd)._bound() as (_, connection),
        pytest.raises(ldap.SIZELIMIT_EXCEEDED),
    ):
        connection.search_s(BASE, ldap.SCOPE_SUBTREE, "(objectClass=inetOrgPerson)")


@pytest.mark.parametrize("member_of", [False, True])
def test_groups_in_groups(tmp_path, house, member_of):
    """Also in a ring; by `member`, and where the directory tells `memberOf`, by that."""
    folder = tmp_path / "slapd"
    folder.mkdir()
    slapd = Slapd(folder, member_of=member_of).start()
    try:
        slapd.fill()
        for login in ("ann", "bob", "cat"):
            slapd.person(login)
        slapd.group("Help desk", "uid=ANN, ou=people")
        slapd.group("Staff", "cn=help desk,ou=groups", "uid=bob,ou=people")
        slapd.group("All", "cn=Staff,ou=groups", "cn=All,ou=groups", "cn=gone,ou=groups")
        slapd.set("cn=Help desk,ou=groups", "member", f"uid=ann,ou=people,{BASE}",
                  f"cn=All,ou=groups,{BASE}")  # fmt: skip
        slapd.add("cn=unix,ou=groups", objectClass="posixGroup", cn="unix", gidNumber="7",
                  memberUid=["Cat"])  # fmt: skip
        house.policy(group_roles={"help DESK": "support", "unix": "auditor"})
        read(house, slapd)
        known = everybody(house)
        assert known["ann"].groups == ("All", "Help desk", "Staff")
        # The ring: who is in All is in Help desk.
        assert known["bob"].groups == ("All", "Help desk", "Staff")
        assert known["cat"].groups == ("unix",)
        assert known["ann"].role is PersonRole.SUPPORT and known["cat"].role is PersonRole.AUDITOR
    finally:
        slapd.stop()


def test_of_very_many_groups_the_one_that_gives_the_role_is_kept(house):
    """Who has been in a large firm for long is in hundreds; names are taken in their order."""
    house.policy(group_roles={"Zz Desk": "support"})
    groups = tuple(f"g{number:03}" for number in range(300))
    state = house.state

    def take(*, groups: tuple[str, ...]) -> people.KnownPerson:
        entries = [DirectoryEntry("u-1", "ann", "Ann", "", groups, active=True)]
        reading.take_over(
            state.database, state.ring, house.firm, entries, leavers_at_most=10, now=house.clock()
        )
        return everybody(house)["ann"]

    for known in (False, True):  # a new person, and one of before
        ann = take(groups=(*groups, "zz desk"))
        assert ann.role is PersonRole.SUPPORT, known
        assert len(ann.groups) == keeping.MOST_GROUPS and ann.groups[-1] == "zz desk"
        assert list(ann.groups) == sorted(ann.groups)
    assert take(groups=groups).role is PersonRole.USER
    assert take(groups=("zz desk", "a")).groups == ("a", "zz desk")


def test_who_is_as_before_costs_no_statement(house):
    """A directory of very many is read in one transaction, and checks wait for it on SQLite."""
    state, said = house.state, []
    here = threading.get_ident()  # what sends letters asks too

    def noted(*given: object) -> None:
        if threading.get_ident() == here:
            said.append(given[2])

    event.listen(state.database.engine, "before_cursor_execute", noted)

    def statements(many: int, name: str = "Name") -> int:
        entries = [
            DirectoryEntry(f"u-{n}", f"user{n}", name, f"u{n}@example.org", ("b", "a"), active=True)
            for n in range(many)
        ]
        said.clear()
        taken = reading.take_over(
            state.database, state.ring, house.firm, entries, leavers_at_most=10, now=house.clock()
        )
        planned = taken.planned
        assert len(planned.added) + len(planned.changed) + planned.unchanged == many
        return len(said)

    statements(3)
    few = statements(3)
    statements(30)
    assert statements(30) == few
    assert statements(30, name="Other") > few


def test_changes_and_leavers(slapd, house):
    for login in ("ann", "bob", "cat"):
        slapd.person(login)
    read(house, slapd)
    ann = everybody(house)["ann"]
    slapd.set("uid=ann,ou=people", "mail", "other@example.org")
    slapd.rename("uid=ann,ou=people", "uid=ann.l")  # she has married: it is the same entry
    slapd.remove("uid=bob,ou=people")
    plan = read(house, slapd, dry_run=True).planned
    assert plan.left == ["bob"] and plan.changed["ann"]["login"] == "ann → ann.l"
    assert not everybody(house)["bob"].disabled
    assert read(house, slapd).planned == plan
    known = everybody(house)
    assert known["bob"].disabled
    assert (known["ann.l"].id, known["ann.l"].email) == (ann.id, "other@example.org")
    slapd.person("bob")  # another entry of that name: somebody else, for all we know
    assert "bob" in read(house, slapd).left_alone


def test_too_many_leavers_are_no_leavers(slapd, house):
    for number in range(8):
        slapd.person(f"user{number}")
    read(house, slapd)
    with refused("too-many-leave"):
        read(house, slapd, people="(uid=user0)")
    assert not any(one.disabled for one in everybody(house).values())
    read(house, slapd, people="(uid=user0)", leavers_at_most=90)
    assert sum(one.disabled for one in everybody(house).values()) == 7


def test_a_bad_entry_stops_nobody_else(slapd, house):
    slapd.person("ann")
    slapd.person("bob", mail="no address")
    slapd.add("cn=nameless,ou=people", objectClass="inetOrgPerson", cn="N", sn="N")
    taken = read(house, slapd)
    assert taken.planned.added == ["ann"]
    assert "e-mail" in taken.left_alone["bob"] and len(taken.left_alone) == 2
    slapd.set("uid=ann,ou=people", "mail", "neither")
    assert read(house, slapd).planned.left == []
    assert not everybody(house)["ann"].disabled


def test_an_id_names_one_entry(house):
    """A second entry of the same id does not make somebody else of the person."""
    entries = [
        DirectoryEntry("1", "ann", "", "", (), active=True),
        DirectoryEntry("1", "eve", "", "", (), active=True),
        DirectoryEntry("", "bob", "", "", (), active=True),
    ]
    for _ in range(2):
        taken = reading.take_over(
            house.state.database, house.state.ring, house.firm, entries,
            leavers_at_most=100, now=house.clock(),
        )  # fmt: skip
        assert set(taken.left_alone) == {"eve", "bob"}
    with house.state.database.read() as connection:
        assert [one.login for one in people.everybody(connection, house.firm.id)] == ["ann"]


def test_whom_it_does_not_take_over(slapd, house):
    """Whoever writes the directory is not to become whoever runs this server."""
    for login, role in (("boss", "administrator"), ("ann", "user"), ("bob", "user")):
        house.person(login, enrolled=False)
        house.change(login, role=role)
    house.change("bob", source="scim")
    for login in ("boss", "ann", "bob"):
        slapd.person(login)
    taken = read(house, slapd)
    assert set(taken.left_alone) == {"boss", "bob"}
    known = everybody(house)
    assert known["ann"].source is Keeper.LDAP and known["boss"].source is Keeper.HERE


def test_two_entries_of_one_login(slapd, house):
    """The first one read is the person's, this time and the next."""
    house.person("ann", enrolled=False)
    slapd.person("ann")
    more = {"objectClass": "inetOrgPerson", "cn": "Other", "sn": "O", "uid": "ann"}
    slapd.add("cn=other,ou=people", **more)
    assert "another entry" in read(house, slapd).left_alone["ann"]
    first = everybody(house)["ann"].external_id
    assert "another entry" in read(house, slapd).left_alone["ann"]
    assert everybody(house)["ann"].external_id == first


def test_it_is_down(slapd, house):
    for login in ("ann", "bob"):
        slapd.person(login)
    read(house, slapd)
    slapd.stop()
    with pytest.raises(UnreachableError, match="does not answer"):
        read(house, slapd)
    assert not any(one.disabled for one in everybody(house).values())
    slapd.start()
    assert read(house, slapd).planned.unchanged == 2


def test_tls_is_not_left_out(slapd, house):
    """StartTLS with a certificate that nobody vouches for is no connection."""
    slapd.person("ann")
    with pytest.raises((UnreachableError, RefusedError)):
        read(house, slapd, ca_file="/etc/ssl/certs/ca-certificates.crt")
    with pytest.raises((UnreachableError, RefusedError)):
        read(house, slapd, url=slapd.url.replace("localhost", "127.0.0.1"))  # not in its name
    assert len(read(house, slapd, starttls=False).planned.added) == 1  # on this machine


@pytest.mark.parametrize(
    "more",
    [
        {"bind_dn": f"cn=nobody,{BASE}"},
        {"base": "dc=example,dc=com"},
        {"people": "(uid=ann"},
        {"bind_dn": "", "password_file": ""},
    ],
)
def test_what_it_refuses_changes_nobody(slapd, house, more):
    slapd.person("ann")
    read(house, slapd)
    if more.get("people"):
        more = {"people": "(&(uid=ann)"}
    with pytest.raises(RefusedError) as caught:
        read(house, slapd, **more)
    assert "only to read with" not in str(caught.value) + caught.value.todo
    assert not everybody(house)["ann"].disabled


# passwords -----------------------------------------------------------------------------------


@pytest.fixture
def firm(slapd, settings, clock, tmp_path):
    """A server that reads the directory and asks it for passwords."""
    file = slapd.folder / "directories.toml"
    file.write_text(
        f'[[directory]]\nurl = "{slapd.url}"\nca_file = "{slapd.folder}/ca.pem"\n'
        f'base = "{BASE}"\nbind_dn = "{READER_DN}"\npassword_file = "password"\n'
    )
    sink = f"file://{tmp_path / 'sent.jsonl'}"
    state = open_state(replace(settings, sms=sink, smtp=sink, directories=file))
    house = House(state, clock)
    house.policy(directory_passwords=True)
    slapd.person("ann")
    read_due(state)
    yield house
    state.close()


def test_the_password_is_the_directorys(firm, slapd):
    assert isinstance(firm.first("ann", "ann's password"), Signed)
    assert isinstance(firm.first("ANN", "ann's password"), Signed)
    for wrong in ("wrong", "", " ", "\0", "x" * 5000):
        with refused("wrong-password"):
            firm.first("ann", wrong)
    for nobody in ("bob", "*", "a*", "ann)(uid=*", ""):
        with refused("wrong-password"):
            firm.first(nobody, "ann's password")
    slapd.set("uid=ann,ou=people", "userPassword", "a new one")
    with refused("wrong-password"):
        firm.first("ann", "ann's password")
    assert isinstance(firm.first("ann", "a new one"), Signed)
    firm.enrol("ann")
    assert isinstance(firm.first("ann", "a new one"), PendingSignIn)


def test_an_empty_password_is_not_asked_about(firm, slapd):
    """Some directories take it from anybody: it is an anonymous bind (RFC 4513 5.1.2)."""
    slapd.stop()
    with refused("wrong-password"):
        firm.first("ann", "")
    with refused("directory-away"):
        firm.first("ann", " ")


def test_a_password_of_before_opens_nothing(firm, slapd):
    """Whoever was known here had a password here: it ends when the directory takes over."""
    firm.person("bob", enrolled=False)
    slapd.person("bob")
    assert isinstance(firm.first("bob"), Signed)
    firm.clock.advance(3600)
    read_due(firm.state)
    with refused("wrong-password"):
        firm.first("bob")
    assert isinstance(firm.first("bob", "bob's password"), Signed)


def test_another_entry_of_that_name_is_somebody_else(firm, slapd):
    """Between two readings a login may have gone to somebody new."""
    slapd.remove("uid=ann,ou=people")
    slapd.person("ann", userPassword="of a new ann")
    with refused("wrong-password"):
        firm.first("ann", "of a new ann")


def test_who_was_barred_there_a_moment_ago(firm, slapd):
    slapd.remove("uid=ann,ou=people")
    with refused("wrong-password"):
        firm.first("ann", "ann's password")


def test_nobody_signs_in_while_it_is_down_but_those_kept_here(firm, slapd):
    firm.person("boss", enrolled=False)
    slapd.stop()
    with refused("directory-away"):
        firm.first("ann", "ann's password")
    with refused("directory-away"):
        firm.first("nobody", "x")  # as for a name that is known
    assert isinstance(firm.first("boss"), Signed)
    slapd.start()
    assert isinstance(firm.first("ann", "ann's password"), Signed)


def test_one_that_takes_the_connection_and_says_nothing(firm, slapd, monkeypatch):
    """Whoever signs in is not kept as long as a reading may take, nor is a thread of the server."""
    monkeypatch.setattr(ldap_directory, "SIGN_IN_S", 1)
    slapd.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        with refused("directory-away"):
            firm.first("ann", "ann's password")
        assert time.monotonic() - began < 15
    finally:
        slapd.process.send_signal(signal.SIGCONT)
    assert isinstance(firm.first("ann", "ann's password"), Signed)


def test_doctor_asks_the_directory(firm, slapd):
    settings = replace(firm.state.settings, directories=slapd.folder / "directories.toml")

    def found() -> dict[str, DoctorFinding]:
        return {one.name: one for one in examine(settings)}

    known = found()["directory of default"]
    assert (known.state, known.detail) == ("ok", f"{slapd.url} answers: 1 people")
    slapd.remove("uid=ann,ou=people")
    assert found()["directory of default"].state == "note"
    slapd.stop()
    away = found()["directory of default"]
    assert away.state == "bad" and "does not answer" in away.detail
    settings.directories.write_text("[[directory]]\n")
    assert found()["directories"].state == "bad"


def test_guesses_are_counted(firm):
    for _ in range(firm.firm.policy.password_max_failures):
        with refused("wrong-password"):
            firm.first("ann", "guess")
    with refused("too-many"):
        firm.first("ann", "ann's password")


def test_a_password_is_neither_set_nor_recovered_here(firm, slapd):
    firm.enrol("ann")
    firm.policy(recovery_methods=["totp"])
    with firm.write() as connection:
        code = recovery.console_help(
            firm.state, connection, firm.known("ann"), firm.clock(), [("totp", "*")]
        )
    token = recovery.with_help(firm.state, "default", "ann", code, HERE)
    assert recovery.asks_for_directory_password(firm.state, "default", token)
    with refused("wrong-password"):
        recovery.reset(firm.state, "default", token, "correct horse battery", HERE)
    # The help desk's code, and the directory's password: she enrols anew.
    session = recovery.reset(firm.state, "default", token, "ann's password", HERE)
    opened = firm.session(session)
    assert opened is not None and opened.enrol_only
    with refused("wrong-password"):
        firm.first("ann", "correct horse battery")


def test_time_to_enrol_has_an_end(firm):
    firm.clock.advance(firm.firm.policy.first_enrolment_days * 86400)
    with refused("enrol-too-late"):
        firm.first("ann", "ann's password")


# the schedule, the file, the console ---------------------------------------------------------


def test_it_is_read_as_often_as_its_file_says(firm, slapd):
    slapd.person("bob")
    assert read_due(firm.state) == {}
    firm.clock.advance(15 * 60)
    assert read_due(firm.state)["default"].planned.added == ["bob"]
    assert read_due(firm.state) == {}  # as another worker would find it
    slapd.stop()
    firm.clock.advance(15 * 60)
    assert read_due(firm.state) == {}
    from tests.server.test_people_bulk import acts

    assert [subject for subject, _ in acts(firm, "directory-not-read")] == ["default"]


GOOD = {"url": "ldaps://x.example.org", "base": BASE}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no directories"),
        ("[[directory]", "is not TOML"),
        ("[[directory]]\nbase = 'x'", "url"),
        ("[[directory]]\nurl = 'http://x'\nbase = 'x'", "url"),
        ("[[directory]]\nurl = 'ldap://x.example.org'\nbase = 'x'\nstarttls = false", "the clear"),
        ("[[directory]]\nurl = 'ldaps://x'\nbase = 'x'\nbind_dn = 'y'", "belong together"),
        ("[[directory]]\nurl = 'ldaps://x'\nbase = 'x'\npeople = 'uid=*'", "people"),
        ("[[directory]]\nurl = 'ldaps://x'\nbase = 'x'\nodd = 1", "odd"),
        ("[[directory]]\nurl='ldaps://x'\nbase='x'\nbind_dn='y'\npassword_file='none'", "none"),
        ("[[directory]]\nurl='ldaps://x'\nbase='x'\n[[directory]]\nurl='ldaps://x'\nbase='x'",
         "twice"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong(tmp_path: Path, text, words):
    file = tmp_path / "directories.toml"
    file.write_text(text)
    with pytest.raises(BadInputError) as caught:
        directories_from(file)
    assert words in caught.value.what


def test_a_password_for_all_to_read_and_an_empty_one(tmp_path: Path):
    file, secret = tmp_path / "directories.toml", tmp_path / "password"
    file.write_text(
        "[[directory]]\nurl='ldaps://x'\nbase='x'\nbind_dn='y'\npassword_file='password'"
    )
    secret.write_text("hush")
    secret.chmod(0o644)
    with pytest.raises(BadInputError, match="read by others"):
        directories_from(file)
    secret.chmod(0o600)
    found = directories_from(file)["default"]
    assert "hush" not in repr(found) + str(found) + found.model_dump_json()
    secret.write_text(" \n")
    with pytest.raises(BadInputError, match="empty"):
        directories_from(file)


def test_the_console(firm, slapd, monkeypatch):
    monkeypatch.setenv("TALLY_SERVER_DIRECTORIES", str(slapd.folder / "directories.toml"))
    settings = firm.state.settings
    words = ["--db", settings.db_url, "--key-file", str(settings.key_file)]

    def run(*more: str):
        return CliRunner().invoke(commands, ["directory", *more, *words])

    slapd.person("bob")
    assert "1 added" in run("read", "--dry-run").output
    assert "bob" not in everybody(firm)
    assert "1 added" in run("read").output
    assert "bob" in everybody(firm)
    assert "2 people" in run("check").output
    slapd.stop()
    assert isinstance(run("check").exception, UnreachableError)
