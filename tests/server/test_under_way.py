"""What is under way, or kept, when its owner or staff put a stop to it."""

from __future__ import annotations

import re

import pytest

from tallystick.server.accounts import firms, people
from tallystick.server.signing_in import login, recovery
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser

NEW = "another good one"


def enrolled(portal, login: str = "ann", **more: str):
    """→ the app of a new person who can sign in with something else, too"""
    portal.person(login, **more)
    browser = Browser(portal.url).sign_in(login)
    totp = portal.enrol_totp(browser)
    portal.enrol_email(browser)
    return totp


def half_way(portal, totp_of: Browser) -> tuple[Browser, str, object]:
    """→ a browser whose password was right, the path to prove a second factor, and the app"""
    totp = portal.enrol_totp(totp_of)
    portal.enrol_email(totp_of)
    browser = Browser(portal.url).sign_in("ann")
    path = "/second/totp/" + re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(path)
    return browser, path, totp


def prove(portal, browser: Browser, path: str, totp) -> str:
    code = totp.at(int(portal.clock()))
    portal.clock.advance(30)
    browser.post(path, code=code)
    return browser.heading


def person_id(boss: Browser, name: str = "ann") -> str:
    found = re.search(rf"/people/(\d+)\">{name}<", boss.get(f"/people?q={name}").page.text)
    return found.group(1)


def recovered(portal, totp) -> Browser:
    """A browser that may set a new password."""
    browser = Browser(portal.url).get("/recover")
    browser.post("/recover", login="ann", kind="totp")
    browser.post("/recover/prove?kind=totp", code=totp.at(int(portal.clock())))
    portal.clock.advance(30)
    assert browser.heading == "Choose a new password"
    return browser


def test_an_old_password_does_not_finish_a_sign_in(portal):
    """A thief has the password and waits for a code; its owner changes it meanwhile."""
    portal.person("ann")
    owner = Browser(portal.url).sign_in("ann")
    thief, path, totp = half_way(portal, owner)
    owner.get("/prove?next=/p/default/password")
    prove(portal, owner, owner_path(owner), totp)
    owner.get("/password").post("/password", old=PASSWORD, password=NEW)
    assert "is changed" in owner.page.text
    assert prove(portal, thief, path, totp) != "You are signed in"
    assert thief.page.status_code == 401


def owner_path(owner: Browser) -> str:
    return "/prove/totp/" + re.search(r"/prove/totp/(\d+)", owner.page.text).group(1)


def test_of_two_recoveries_one_sets_the_password(portal):
    totp = enrolled(portal)
    thief, owner = recovered(portal, totp), recovered(portal, totp)
    owner.post("/recover/reset", password=NEW)
    thief.post("/recover/reset", password="the thief's own password")
    assert thief.page.status_code == 401
    assert Browser(portal.url).sign_in("ann", NEW).heading.startswith("How")


def test_a_help_code_is_void_once_the_password_is_changed(portal):
    totp = enrolled(portal)
    with opened(portal.settings) as parts, parts.database.write() as connection:
        ann = people.by_login(connection, 1, "ann")
        code = recovery.console_help(parts, connection, ann, portal.clock())
    recovered(portal, totp).post("/recover/reset", password=NEW)
    late = Browser(portal.url).get("/recover/help").post("/recover/help", login="ann", code=code)
    assert late.page.status_code == 401


def test_strangers_do_not_void_a_help_code(portal):
    """It has 59 bits: what keeps guesses out is its length, not a count that anybody can reach."""
    portal.person("ann")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        ann = people.by_login(connection, 1, "ann")
        code = recovery.console_help(parts, connection, ann, portal.clock())
    stranger = Browser(portal.url).get("/recover/help")
    for _ in range(20):
        stranger.post("/recover/help", login="ann", code="AAAA-AAAA-AAAA")
        assert stranger.page.status_code == 401
    user = Browser(portal.url).get("/recover/help").post("/recover/help", login="ann", code=code)
    assert user.heading == "Choose a new password"


@pytest.mark.parametrize("how", ["disabled", "signed out everywhere"])
def test_staff_end_what_is_under_way(portal, how):
    """Also for somebody whose factor works without the card's or the app's own check."""
    boss = portal.staff("boss", "administrator")
    portal.person("ann")
    browser, path, totp = half_way(portal, Browser(portal.url).sign_in("ann"))
    ann = person_id(boss)
    reset = recovered(portal, totp)
    boss.get(f"/people/{ann}")
    if how == "disabled":
        boss.post(f"/people/{ann}", role="user", disabled="yes")
    else:
        boss.post(f"/people/{ann}/end-sessions")
    assert boss.page.status_code == 200
    prove(portal, browser, path, totp)
    assert browser.page.status_code == 401
    assert reset.post("/recover/reset", password=NEW).page.status_code == 401
    boss.get(f"/people/{ann}").post(f"/people/{ann}", role="user")
    assert browser.get("/").heading == "Sign in"


def test_a_disabled_user_does_not_finish_a_sign_in_that_was_not_ended(portal):
    """As when the account is barred in the database by another tool."""
    portal.person("ann")
    browser, path, totp = half_way(portal, Browser(portal.url).sign_in("ann"))
    reset = recovered(portal, totp)
    with opened(portal.settings) as parts, parts.database.write() as connection:
        ann = people.by_login(connection, 1, "ann")
        people.change(connection, 1, ann.id, disabled_at=int(portal.clock()))
    prove(portal, browser, path, totp)
    assert browser.page.status_code == 401
    assert reset.post("/recover/reset", password=NEW).page.status_code == 401


def test_a_password_that_changes_while_it_is_judged(portal, monkeypatch):
    """Judging takes a while; what it judged is not what is stored any more."""
    portal.person("ann")
    real = login.passwords.matches

    def matches(stored, password):
        right = real(stored, password)
        with opened(portal.settings) as parts, parts.database.write() as connection:
            ann = people.by_login(connection, 1, "ann")
            login.passwords.store(connection, ann.id, login.passwords.hash_new(NEW), portal.clock())
        return right

    monkeypatch.setattr(login.passwords, "matches", matches)
    assert Browser(portal.url).sign_in("ann").problem == "The name or the password is wrong."


def test_a_shorter_session_holds_for_those_that_are_open(portal):
    portal.policy(session_hours=100, session_idle_minutes=1440, remember_device_days=90)
    portal.person("ann")
    browser, path, totp = half_way(portal, Browser(portal.url).sign_in("ann"))
    browser.post(path, code=totp.at(int(portal.clock())), remember="yes")
    portal.policy(session_hours=1, remember_device_days=1)
    assert browser.get("/").heading == "My account"
    portal.clock.advance(3600)
    assert browser.get("/").heading == "Sign in"
    assert browser.sign_in("ann").heading == "You are signed in"  # still remembered
    portal.clock.advance(86400)
    assert browser.sign_in("ann").heading.startswith("How")


def test_one_firms_shorter_memory_is_not_anothers(portal):
    portal.policy(remember_device_days=90)
    portal.person("ann")
    browser, path, totp = half_way(portal, Browser(portal.url).sign_in("ann"))
    browser.post(path, code=totp.at(int(portal.clock())), remember="yes")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
    portal.policy("other", remember_device_days=1, session_hours=1)
    portal.clock.advance(2 * 86400)
    assert browser.sign_in("ann").heading == "You are signed in"


def test_a_longer_policy_brings_no_session_back(portal):
    """Nobody had used it for too long; one that was in use goes on."""
    portal.policy(session_hours=100, session_idle_minutes=5)
    portal.person("ann")
    left, used = (Browser(portal.url).sign_in("ann") for _ in range(2))
    portal.clock.advance(240)
    assert used.get("/").heading == "My account"
    portal.clock.advance(60)
    portal.policy(session_idle_minutes=600)
    assert left.get("/").heading == "Sign in"
    assert used.get("/").heading == "My account"
    portal.clock.advance(3600)
    assert used.get("/").heading == "My account"


def test_recoveries_leave_codes_for_signing_in(portal):
    """Whoever knows a login name can begin recoveries: that must not use up the owner's codes."""
    portal.policy(recovery_methods=["sms"])
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/enrol/sms")
    browser.post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    portal.clock.advance(3600)
    stranger = Browser(portal.url)
    for _ in range(9):
        stranger.get("/recover").post("/recover", login="ann", kind="sms")
        assert stranger.heading == "Prove that it is you"
    browser = Browser(portal.url).sign_in("ann").post(f"/second/sms/{key}/ask")
    assert browser.page.status_code == 200, browser.problem
    browser.post(f"/second/sms/{key}", code=portal.code(5))  # enrolment, three recoveries, this
    assert browser.heading == "You are signed in"


@pytest.mark.parametrize("proved", [False, True])
def test_a_method_that_recovers_no_more_does_not_finish_a_recovery(portal, proved):
    totp = enrolled(portal)
    thief = recovered(portal, totp) if proved else Browser(portal.url).get("/recover")
    if not proved:
        thief.post("/recover", login="ann", kind="totp")
    portal.policy(recovery_methods=["email"])
    if not proved:
        portal.clock.advance(30)
        thief.post("/recover/prove?kind=totp", code=totp.at(int(portal.clock())))
        assert thief.page.status_code == 401
        return
    assert thief.post("/recover/reset", password="another good one").page.status_code == 401


def test_strangers_do_not_keep_a_known_browser_from_recovering(portal):
    portal.policy(recovery_methods=["email"])
    totp = enrolled(portal)
    owner = portal.with_app(Browser(portal.url), "ann", totp).get("/").post("/sign-out")
    portal.clock.advance(3600)
    before = portal.codes_sent()
    stranger = Browser(portal.url)
    for _ in range(5):
        stranger.get("/recover").post("/recover", login="ann", kind="email")
    owner.get("/recover").post("/recover", login="ann", kind="email")
    code = portal.code(before + 4)  # three went to strangers' tries
    assert owner.post("/recover/prove?kind=email", code=code).heading == "Choose a new password"


def test_lifting_a_lock_out_does_not_open_the_way_for_guesses(portal):
    """A member of staff who knows a password would guess, lift, guess …"""
    boss = portal.staff("boss", "administrator")
    portal.person("ann")
    ann = person_id(boss)
    for number in range(12):
        boss.get(f"/people/{ann}").post(f"/people/{ann}/unlock")
        assert boss.page.status_code == (200 if number < 10 else 429), number
