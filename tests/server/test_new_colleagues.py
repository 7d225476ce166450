"""One member of staff does not become two: whoever makes an account, gives it a role of staff and
opens it himself has no colleague in it."""

from __future__ import annotations

import re

import httpx
import pytest

from tallystick.server.accounts import credentials, people
from tallystick.server.accounts.credentials import Role
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser, Portal
from tests.server.test_two_factors import sql

OWN = "an own good one"


def number_of(portal: Portal, login: str) -> int:
    return sql(portal, "SELECT id FROM person WHERE login = :login", login=login)[0][0]


def opened_by_letter(portal: Portal, boss: Browser, login: str) -> Browser:
    """The account, with a password and an app of the administrator's own."""
    page = f"/people/{number_of(portal, login)}"
    boss.get(page).post(f"{page}/invite/letter")
    code = re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", boss.page.text).group()
    browser = Browser(portal.url).get("/recover/help")
    browser.post("/recover/help", login=login, code=code)
    browser.post("/recover/reset", password=OWN)
    browser.sign_in(login, OWN)
    app = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    browser.sign_in(login, OWN)
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(f"/second/totp/{key}")
    return browser.post(f"/second/totp/{key}", code=app.at(int(portal.clock())))


def decided(portal: Portal, one: Browser, other: Browser) -> str:
    """One asks to recover ann's account, another agrees. → why not, or ''"""
    page = f"/people/{number_of(portal, 'ann')}"
    one.get(page).post(f"{page}/help/ask")
    if one.problem:
        return one.problem
    request = str(sql(portal, "SELECT id FROM help_request WHERE kind = 'recovery'")[-1][0])
    other.get(page).post(f"{page}/help/agree", request=request)
    if other.problem:
        return other.problem
    one.get(page).post(f"{page}/help/collect", request=request)
    assert re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", one.page.text), one.page.text
    return ""


def mails(portal: Portal, words: str) -> list[dict[str, str]]:
    """Those with these words, once there is one."""
    for count in range(1, 20):
        found = [one for one in portal.messages(count) if words in one["text"]]
        if found:
            return found
    raise AssertionError(f"no mail has {words}")


def made_here(portal: Portal, boss: Browser, login: str, role: str) -> None:
    boss.get("/people").post("/people", login=login, name="", email="", role=role)


def raised_here(portal: Portal, boss: Browser, login: str, role: str) -> None:
    made_here(portal, boss, login, "user")
    number = number_of(portal, login)
    boss.get(f"/people/{number}").post(f"/people/{number}", role=role)


def in_a_list(portal: Portal, boss: Browser, login: str, role: str) -> None:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        made = credentials.add(
            connection, parts.ring, role=Role.ADMIN, name="l", now=portal.clock(), actor="test"
        )
    answer = httpx.post(
        f"{portal.url}/v1/people/import",
        json={"csv": f"login,role\n{login},{role}\n"},
        headers=bearer(made),
    )
    assert answer.json()["added"] == [login]


@pytest.mark.parametrize("made", [made_here, raised_here, in_a_list])
@pytest.mark.parametrize("role", ["support", "administrator"])
def test_an_account_of_ones_own_making_is_no_colleague(portal, made, role):
    portal.person("ann")
    boss = portal.staff("boss", "administrator")
    made(portal, boss, "puppet", role)
    puppet = opened_by_letter(portal, boss, "puppet")
    assert "puppet is new among the staff" in decided(portal, boss, puppet)
    assert "puppet is new among the staff" in decided(portal, puppet, boss)
    assert sql(portal, "SELECT agreed_by FROM help_request WHERE agreed_by IS NOT NULL") == []
    asked = "SELECT id FROM help_request WHERE asked_by = :puppet"  # nor is anybody bothered
    assert sql(portal, asked, puppet=number_of(portal, "puppet")) == []


def test_nor_is_an_old_one_that_nobody_had_opened(portal):
    """It had its role for long; whoever may invite it opens it himself."""
    portal.person("ann")
    boss = portal.staff("boss", "administrator")
    made_here(portal, boss, "puppet", "support")
    sql(portal, "UPDATE person SET colleague_from = NULL WHERE login = 'puppet'")
    puppet = opened_by_letter(portal, boss, "puppet")
    assert "puppet is new among the staff" in decided(portal, boss, puppet)


def test_a_link_in_a_mail_is_as_a_letter(portal):
    portal.person("ann")
    boss = portal.staff("boss", "administrator")
    made_here(portal, boss, "puppet", "support")
    number = number_of(portal, "puppet")
    boss.get(f"/people/{number}").post(
        f"/people/{number}", email="own@home.example", role="support"
    )
    sql(portal, "UPDATE person SET colleague_from = NULL WHERE login = 'puppet'")
    boss.get(f"/people/{number}").post(f"/people/{number}/invite/mail")
    texts = [one["text"] for one in mails(portal, "/welcome/")]
    puppet = Browser(portal.url)
    link = re.search(r"/p/default(/welcome/\S+)", texts[0]).group(1)
    puppet.get(link).post(link, password=OWN, again=OWN)
    portal.enrol_totp(puppet)
    assert "puppet is new among the staff" in decided(portal, boss, puppet)


def test_after_a_while_it_is_one(portal):
    portal.person("ann")
    boss = portal.staff("boss", "administrator")
    made_here(portal, boss, "new", "support")
    new = opened_by_letter(portal, boss, "new")
    sql(portal, "UPDATE person SET colleague_from = :now", now=int(portal.clock()) + 1)
    assert "new among the staff" in decided(portal, boss, new)
    sql(portal, "UPDATE person SET colleague_from = :now", now=int(portal.clock()))
    assert decided(portal, boss, new) == ""


def test_it_is_a_matter_of_days(portal):
    boss = portal.staff("boss", "administrator")
    made_here(portal, boss, "new", "support")
    since = sql(portal, "SELECT colleague_from FROM person WHERE login = 'new'")[0][0]
    assert since == int(portal.clock()) + people.NEW_COLLEAGUE_S
    assert people.NEW_COLLEAGUE_S == 3 * 86400


def test_whoever_the_console_made_is_one_at_once(portal):
    portal.person("ann")
    assert decided(portal, portal.staff("one", "support"), portal.staff("two", "support")) == ""


def test_less_rights_than_before_are_nothing_new(portal):
    portal.person("ann")
    portal.staff("boss", "administrator")
    other = portal.staff("other", "administrator")
    number = number_of(portal, "boss")
    other.get(f"/people/{number}").post(f"/people/{number}", role="support")
    assert sql(portal, "SELECT colleague_from FROM person WHERE login = 'boss'") == [(None,)]


@pytest.mark.parametrize("made", [made_here, raised_here, in_a_list])
def test_administrators_read_of_everybody_new_among_the_staff(portal, made):
    portal.person("chief", "administrator", email="chief@firm.example")
    boss = portal.staff("boss", "administrator")
    made(portal, boss, "puppet", "support")
    told = mails(portal, "gave puppet the role support")
    assert [one["to"] for one in told] == ["chief@firm.example"]


def test_nobody_changes_his_own_role(portal):
    portal.staff("other", "administrator")
    boss = portal.staff("boss", "administrator")
    page = f"/people/{number_of(portal, 'boss')}"
    boss.get(page).post(page, role="support")
    assert "Nobody changes his own role" in boss.problem
    boss.get(page).post(page, role="administrator", disabled="yes")
    assert "Nobody changes his own role" in boss.problem
    assert sql(portal, "SELECT role, disabled_at FROM person WHERE login = 'boss'") == [
        ("administrator", None)
    ]
