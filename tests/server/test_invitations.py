"""Invitations by mail and by letter; who is behind, and is reminded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from tallystick.common.errors import BadInputError
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.joining import keeping, leaving, merging, reminding
from tallystick.server.joining.keeping import PersonWish
from tallystick.server.operating.cli import server as commands
from tallystick.server.signing_in import inviting, recovery
from tallystick.server.signing_in.login import Signed
from tallystick.server.store.models_login import HelpRequest
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.house import HERE, House, refused
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_people_bulk import acts, ways
from tests.server.test_two_factors import sql

DAY = 86400


def new(house: House, login: str = "ann", **more) -> people.KnownPerson:
    email = more.pop("email", f"{login}@example.org")
    with house.write() as connection:
        wanted = PersonWish(login, email=email, **more)
        return keeping.add(connection, ways(house), wanted)


def new_in(connection, house: House, login: str, email: str) -> people.KnownPerson:
    """A new one whom a directory keeps."""
    kept = replace(ways(house), by=people.Keeper.LDAP)
    return keeping.add(connection, kept, PersonWish(login, email=email), external_id="u-1")


def invite(house: House, login: str = "ann") -> None:
    with house.write() as connection:
        inviting.invite(
            house.state, connection, house.firm, house.known(login),
            public_url="https://otp.example.org", actor="console", now=house.clock(),
        )  # fmt: skip
    house.state.outbox.wake()


def mails(house: House, count: int) -> list[dict]:
    from tests.server.portal_driver import Portal

    folder = house.state.settings.key_file.parent
    return Portal("", house.state.settings, house.clock, folder).messages(count)


def link_in(mail: dict) -> str:
    return re.search(r"https://otp\.example\.org/p/default/welcome/(\S+)", mail["text"]).group(1)


def test_a_link_sets_the_first_password_once(house):
    new(house, name="Ann Ö")
    invite(house)
    (mail,) = mails(house, 1)
    assert mail["to"] == "ann@example.org" and "Hello Ann Ö" in mail["text"]
    link = link_in(mail)
    for _ in range(3):  # programs look at links in mails before people do
        assert inviting.welcomed(house.state, "default", link, HERE).login == "ann"
    with refused("bad-password"):
        inviting.accept(house.state, "default", link, "short", HERE)
    session = house.session(inviting.accept(house.state, "default", link, PASSWORD, HERE))
    assert session is not None and session.amr == ("pwd",) and not session.enrol_only
    for _ in range(2):
        with refused("invitation-over"):
            inviting.accept(house.state, "default", link, "another password here", HERE)
    assert isinstance(house.first("ann"), Signed)
    assert [subject for subject, _ in acts(house, "invitation-used")] == ["ann"]


def test_a_link_welcomes_nobody_who_was_here(house):
    """A password that came by another way, with the invitation left behind."""
    new(house)
    invite(house)
    link = link_in(mails(house, 1)[0])
    house.change(password_at=1)
    with refused("invitation-over"):
        inviting.welcomed(house.state, "default", link, HERE)


def test_the_consoles_code_is_no_link(house):
    """It is typed, by whoever was told it; what has come by an invitation counts as such."""
    person = new(house)
    with house.write() as connection:
        code = recovery.console_help(house.state, connection, person, house.clock())
        number = connection.scalar(select(HelpRequest.id))
    with refused("invitation-over"):
        link = f"{number}-{code.replace('-', '')}"
        inviting.accept(house.state, "default", link, PASSWORD, HERE)
    assert recovery.with_help(house.state, "default", "ann", code, HERE)


def test_an_invitation_ends(house):
    for end in ("time", "another", "withdrawn", "left", "deleted", "letter"):
        login = f"user.{end}"
        person = new(house, login)
        invite(house, login)
        link = link_in(mails(house, house.sent + 1)[-1])
        house.sent = house.sent + 1
        assert inviting.welcomed(house.state, "default", link, HERE).id == person.id
        with house.write() as connection:
            now = house.clock()
            if end == "withdrawn":
                inviting.withdraw(
                    house.state, connection, house.firm, person, actor="console", now=now
                )
            elif end == "left":
                leaving.leave(connection, ways(house), [person])
            elif end == "deleted":
                leaving.remove(connection, ways(house), person)
            elif end == "letter":
                inviting.print_letter(
                    house.state, connection, house.firm, person, actor="console", now=now
                )
        if end == "time":
            house.clock.advance(house.firm.policy.invitation_days * DAY)
        elif end == "another":
            invite(house, login)
            mails(house, house.sent + 1)
            house.sent += 1
        with refused("invitation-over"):
            inviting.accept(house.state, "default", link, PASSWORD, HERE)


def test_a_link_that_went_to_another_address_opens_nothing(house):
    """Somebody of the staff mistyped an address, and put it right: a stranger has the link."""
    for how in ("corrected", "taken away", "merged"):
        login = f"user.{how.split()[0]}"
        person = new(house, login, email=f"mistyped.{login}@example.org")
        invite(house, login)
        house.sent += 1
        link = link_in(mails(house, house.sent)[-1])
        with house.write() as connection:
            if how == "merged":
                twin = new_in(connection, house, f"{login}.2", f"{login}@example.org")
                merging.merge(connection, ways(house), person, twin)
            else:
                wish = PersonWish(email=f"{login}@example.org" if how == "corrected" else "")
                keeping.change(connection, ways(house), person.id, wish, quiet=True)
        with refused("invitation-over"):
            inviting.welcomed(house.state, "default", link, HERE)
    said = [subject for subject, _ in acts(house, "invitation-withdrawn")]
    assert said == ["user.corrected", "user.taken", "user.merged"]


def test_a_letter_and_a_link_outlive_another_name(house):
    """What did not go to the address is not called back with it."""
    person = new(house)
    invite(house)
    link = link_in(mails(house, 1)[-1])
    with house.write() as connection:
        keeping.change(connection, ways(house), person.id, PersonWish(name="Ann"), quiet=True)
    assert inviting.welcomed(house.state, "default", link, HERE).id == person.id
    with house.write() as connection:
        inviting.print_letter(
            house.state, connection, house.firm, person, actor="console", now=house.clock()
        )
        keeping.change(connection, ways(house), person.id, PersonWish(email=""), quiet=True)
        assert [one.by for one in inviting.listed(connection, 1, house.clock())] == ["letter"]


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    monkeypatch.setattr(House, "sent", 0, raising=False)


def test_whom_it_is_not_for(house):
    """Whoever has had a password recovers it: that takes two of the staff, and this takes one."""
    house.person("ann", enrolled=False)
    house.person("bob")
    new(house, "cat", email="")
    new(house, "dan", disabled=True)
    house.change("ann", email="ann@example.org")
    for login in ("ann", "bob", "cat", "dan"):
        with refused("not-invited"):
            invite(house, login)
    # A password that was set meanwhile is not set again by a link of before.
    new(house, "eve")
    invite(house, "eve")
    link = link_in(mails(house, 1)[0])
    with house.write() as connection:
        code = recovery.console_help(house.state, connection, house.known("eve"), house.clock())
    token = recovery.with_help(house.state, "default", "eve", code, HERE)
    recovery.reset(house.state, "default", token, PASSWORD, HERE)
    with refused("invitation-over"):
        inviting.accept(house.state, "default", link, "another password here", HERE)


def test_guessed_links(house):
    new(house)
    invite(house)
    good = link_in(mails(house, 1)[0])
    number, code = good.split("-")
    other = "B" if code.endswith("A") else "A"
    for wrong in (
        "",
        "-",
        number,
        f"{number}-{code[:-1]}{other}",
        f"1-{code}",
        "9" * 30,
        "../x",
        "٣-" + code,
    ):
        with refused("invitation-over"):
            inviting.welcomed(house.state, "default", wrong, HERE)
    for _ in range(house.firm.policy.recoveries_per_source_per_hour):
        with pytest.raises(Exception, match=r"invitation|Too many"):
            inviting.welcomed(house.state, "default", f"{number}-AAAAAAAAAAAA", HERE)
    with refused("too-many"):
        inviting.welcomed(house.state, "default", good, HERE)


def test_a_letter_for_a_firm_without_mail(portal):
    boss = portal.staff("boss", "administrator")
    for login in ("ann", "bob"):
        boss.get("/people").post("/people", login=login, role="user")
    page = boss.get("/invitations").post("/invitations", by="letter").page.text
    codes = re.findall(r'class="secret big">([\w-]+)<', page)
    assert len(codes) == 2 and page.count("/recover/help") == 2
    browser = Browser(portal.url).get("/recover/help")
    browser.post("/recover/help", login="bob", code=codes[0])
    assert browser.page.status_code == 401
    browser.post("/recover/help", login="ANN", code=codes[0].lower())
    assert browser.heading == "Choose a new password"
    browser.post("/recover/reset", password=PASSWORD, again="other")
    assert "not the same" in browser.problem
    browser.post("/recover/reset", password=PASSWORD, again=PASSWORD)
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"
    listed = boss.get("/invitations").page.text
    assert "bob" in listed and ">ann<" not in listed
    assert codes[1] not in listed


def test_a_mail_to_everybody(portal):
    boss = portal.staff("boss", "administrator")
    for n in range(3):
        boss.get("/people").post("/people", login=f"u{n}", email=f"u{n}@example.org", role="user")
    boss.get("/invitations").post("/invitations", by="mail")
    assert "3 were invited" in boss.page.text
    boss.post("/invitations", by="mail")
    assert "Nobody was left" in boss.page.text
    sent = [one for one in portal.messages(3) if "/welcome/" in one["text"]]
    link = re.search(r"/p/default(/welcome/\S+)", sent[0]["text"]).group(1)
    browser = Browser(portal.url).get(link)
    assert browser.heading == "Welcome, u0"
    browser.post(link, password=PASSWORD, again=PASSWORD)
    assert browser.heading == "My account"
    portal.enrol_totp(browser)
    assert Browser(portal.url).get(link).page.status_code == 401
    # Resent, withdrawn.
    with opened(portal.settings) as parts, parts.database.read() as connection:
        firm = firms.by_name(connection, "default")
        number = people.by_login(connection, firm.id, "u1").id
    assert "on its way" in boss.get("/invitations").post(f"/people/{number}/invite/mail").page.text
    assert "withdrawn" in boss.post(f"/people/{number}/invite/withdraw").page.text
    assert "has no invitation" in boss.post(f"/people/{number}/invite/withdraw").problem
    assert "u2" in boss.get("/behind").page.text and ">u0<" not in boss.page.text
    csv = boss.get("/behind.csv").page.text.splitlines()
    assert csv[0].startswith("login,") and [one.split(",")[0] for one in csv[1:]] == ["u1", "u2"]


def test_reminders(house):
    house.policy(reminder_days=7, second_factor_from=date(2027, 3, 1))
    house.person("ann", enrolled=False)
    house.person("bob")
    for login in ("ann", "bob"):
        house.change(login, email=f"{login}@example.org")
    new(house, "cat")  # who was never here: an invitation is what helps
    assert reminding.remind_due(house.state) == 0
    house.clock.advance(7 * DAY)
    assert reminding.remind_due(house.state) == 1
    assert reminding.remind_due(house.state) == 0
    house.state.outbox.wake()
    (mail,) = [one for one in mails(house, 1) if "second" in one["subject"]]
    assert mail["to"] == "ann@example.org" and "1 Mar 2027" in mail["text"]
    house.clock.advance(7 * DAY)
    assert reminding.remind_due(house.state) == 1
    house.policy(reminder_days=0)
    house.clock.advance(7 * DAY)
    assert reminding.remind_due(house.state) == 0


def test_each_is_written_to_in_the_language_that_was_chosen(house):
    house.policy(reminder_days=1, languages=["de", "nb"])
    for login, language in (("ann", "fr"), ("bob", "")):
        house.person(login, enrolled=False)
        house.change(login, email=f"{login}@example.org", language=language)
    house.person("dan", enrolled=False)  # who has left is reminded of nothing
    house.change("dan", email="dan@example.org", disabled_at=1)
    house.clock.advance(DAY)
    assert reminding.remind_due(house.state) == 2
    house.state.outbox.wake()
    found = {one["to"]: one for one in mails(house, 2)}
    french, both = found["ann@example.org"], found["bob@example.org"]
    assert "ajoutez une seconde preuve" in french["subject"] and "Guten" not in french["text"]
    assert "zweiten" in both["subject"]
    german, norwegian = both["text"].split("– – –")
    assert "Guten Tag bob," in german and "Hei bob," in norwegian
    assert german.strip().endswith("default") and norwegian.strip().endswith("default")


def test_a_day_from_which_it_is_asked_for(house):
    """NOON of the tests is 15 January 2027."""
    house.policy(second_factor_from=date(2027, 2, 1), first_enrolment_days=3)
    policy = house.firm.policy
    assert policy.methods_asked(house.clock()) == 0
    house.person("ann", enrolled=False)
    house.clock.advance(10 * DAY)
    assert isinstance(house.first("ann"), Signed)  # three days from 1 February on
    house.clock.advance(8 * DAY)
    assert policy.methods_asked(house.clock()) == 1
    assert isinstance(house.first("ann"), Signed)
    house.clock.advance(3 * DAY)
    with refused("enrol-too-late"):
        house.first("ann")


def test_who_sees_what(portal):
    support = portal.staff("sue", "support")
    for path in ("/invitations", "/behind", "/behind.csv"):
        assert support.get(path).page.status_code == 200
    support.get("/invitations")
    assert support.get("/people").post("/invitations", by="mail").page.status_code == 403
    user = portal.staff("ann", "user")
    for path in ("/invitations", "/behind", "/behind.csv", "/people/import", "/people/export"):
        assert user.get(path).page.status_code == 403


def test_the_console_and_scripts(server, monkeypatch):
    words = ["--db", server.settings.db_url, "--key-file", str(server.settings.key_file)]

    def run(*more: str):
        return CliRunner().invoke(commands, ["person", *more, *words])

    body = {"csv": "login,email\nann,ann@example.org\nbob,\ncat,cat@example.org\n"}
    headers = bearer(server.admin)
    server.client.post("/v1/people/import", json=body, headers=headers).raise_for_status()
    monkeypatch.delenv("TALLY_SERVER_PUBLIC_URL", raising=False)
    assert isinstance(run("invite", "ann").exception, BadInputError)
    monkeypatch.setenv("TALLY_SERVER_PUBLIC_URL", "https://otp.example.org")
    assert "2 invited" in run("invite", "--all").output
    codes = json.loads(run("invite", "bob", "--letter", "--json").stdout)["codes"]
    assert len(codes["bob"]) == 14
    assert "1 withdrawn" in run("invite", "cat", "--withdraw").output
    assert "cat,,cat@example.org,,not invited" in run("behind").stdout
    listed = server.client.get("/v1/people/invitations", headers=headers).json()["invitations"]
    assert [(one["login"], one["by"]) for one in listed] == [("ann", "mail"), ("bob", "letter")]
    behind = server.client.get("/v1/people/behind", headers=headers).json()["people"]
    assert [one["login"] for one in behind] == ["ann", "bob", "cat"]
    path = f"/v1/people/{behind[2]['id']}/invitation"
    made = server.client.post(path, json={"by": "letter"}, headers=headers).json()
    assert made["path"] == "/p/default/recover/help" and len(made["code"]) == 14
    assert server.client.delete(path, headers=headers).status_code == 204
    assert server.client.delete(path, headers=headers).status_code == 404
    assert server.client.post(path, json={}, headers=headers).json()["by"] == "mail"


def printed(portal) -> tuple[int, int, str]:
    """A letter for somebody new of the default firm. → number, request and code"""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        number = people.add(
            connection,
            firm_id=1,
            login="new",
            role=PersonRole.USER,
            email=None,
            now=portal.clock(),
        )
        firm, person = firms.by_id(connection, 1), people.get(connection, 1, number)
        letter = inviting.print_letter(
            parts, connection, firm, person, actor="console", now=portal.clock()
        )
    ((request,),) = sql(portal, "SELECT id FROM help_request")
    return number, request, letter.code


@pytest.mark.parametrize("step", ["agree", "collect", "withdraw"])
def test_an_invitation_is_no_request_that_a_colleague_decides_on(portal, step):
    sue = portal.staff("sue", "support")
    number, request, _ = printed(portal)
    sue.get(f"/people/{number}").post(f"/people/{number}/help/{step}", request=str(request))
    assert sue.page.status_code == 404


def test_a_link_of_another_firm_is_none(portal):
    """It counts as a guess there, and says no more than any other."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
    _, request, code = printed(portal)
    link = f"/welcome/{request}-{code.replace('-', '')}"
    assert Browser(portal.url, "other").get(link).page.status_code == 401
    assert sql(portal, "SELECT firm_id FROM audit WHERE action = 'help-code-wrong'") == [(2,)]
    assert Browser(portal.url).get(link).page.status_code == 200
