"""Whoever knows a login name does not keep its owner out of a browser that he has used before."""

from __future__ import annotations

import pytest

from tallystick.server.accounts import firms
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in import known
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_bounds import behind_a_proxy, try_to_sign_in
from tests.server.test_portal import register_card
from tests.server.test_two_factors import app_code, sql
from tests.server.test_under_way import enrolled

__all__ = ["behind_a_proxy"]  # a fixture of theirs


def signed_in(portal, totp, login: str = "ann") -> Browser:
    browser = portal.with_app(Browser(portal.url), login, totp)
    browser.get("/").post("/sign-out")
    return browser


def show(portal, browser: Browser, totp) -> Browser:
    key = sql(portal, "SELECT id FROM factor WHERE kind = 'totp' ORDER BY id")[0][0]
    browser.get(f"/second/totp/{key}")
    return browser.post(f"/second/totp/{key}", code=app_code(portal, totp))


def block(portal, login: str = "ann") -> None:
    """Ten places at once; policy lets each guess three times."""
    for n in range(30):
        try_to_sign_in(portal, login, "wrong", x_forwarded_for=f"203.0.113.{n}")
    there = try_to_sign_in(portal, login, PASSWORD, x_forwarded_for="203.0.113.99")
    assert there.page.status_code == 429


def test_all_places_together_do_not_block_a_known_browser(behind_a_proxy):
    portal = behind_a_proxy
    totp = enrolled(portal)
    owner = signed_in(portal, totp)
    portal.policy(password_max_failures=3)
    block(portal)
    assert show(portal, owner.sign_in("ann"), totp).heading == "You are signed in"


def test_nor_does_its_own_place(portal):
    totp = enrolled(portal)
    owner = signed_in(portal, totp)
    portal.policy(sign_in_failures_per_source=10, password_max_failures=3)
    for n in range(10):
        Browser(portal.url).sign_in(f"u{n}", "wrong")
    assert Browser(portal.url).sign_in("ann").page.status_code == 429
    assert show(portal, owner.sign_in("ann"), totp).heading == "You are signed in"


def test_it_has_as_many_tries_as_a_place(portal):
    totp = enrolled(portal)
    thief = signed_in(portal, totp)
    portal.policy(password_max_failures=3)
    tries = [thief.sign_in("ann", "wrong").page.status_code for _ in range(4)]
    assert tries == [401] * 3 + [429]
    assert Browser(portal.url).sign_in("ann").heading.startswith("How")  # others have theirs


@pytest.mark.parametrize("how", ["another's", "made up", "changed", "old", "of another firm"])
def test_what_is_no_known_browser(behind_a_proxy, how):
    portal = behind_a_proxy
    totp = enrolled(portal)
    owner = signed_in(portal, totp)
    token = owner.http.cookies["tally_known"]
    name, since, seal = token.split(".")
    wrong = {
        "made up": f"{name}.{since}.{'0' * 64}",
        "changed": f"{'0' * 32}.{since}.{seal}",
        "of another firm": token,
        "old": token,
        "another's": token,
    }[how]
    if how == "another's":
        portal.person("bob")
        login = "bob"
    else:
        login = "ann"
    if how == "old":
        portal.clock.advance(known.DAYS * 86400)
    portal.policy(password_max_failures=3)
    if how == "of another firm":
        another_firm(portal)
        stranger = Browser(portal.url, "other")
        stranger.http.cookies.set("tally_known", wrong)
        tries = [stranger.sign_in(login, "wrong").page.status_code for _ in range(4)]
        assert tries == [401] * 3 + [429]
        assert _buckets(portal, name) == 0
        return
    block(portal, login)
    stranger = Browser(portal.url)
    stranger.http.headers["x-forwarded-for"] = "203.0.113.77"
    stranger.http.cookies.set("tally_known", wrong)
    assert stranger.sign_in(login).page.status_code == 429


def another_firm(portal) -> None:
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
    portal.policy("other", password_max_failures=3)


def _buckets(portal, name: str) -> int:
    return len(sql(portal, "SELECT * FROM rate WHERE bucket LIKE :name", name=f"%{name}%"))


def test_a_password_alone_makes_no_known_browser(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    assert browser.heading == "You are signed in"
    assert "tally_known" not in browser.http.cookies


# second factors that strangers have locked --------------------------------------------------------


def lock_by_recovery(portal, login: str = "ann") -> None:
    """Anybody may say that he forgot the password, and type codes. No test outlasts the pause."""
    portal.policy(lockout_s=3600)
    for _ in range(2):
        stranger = Browser(portal.url).get("/recover")
        stranger.post("/recover", login=login, kind="totp")
        for _ in range(5):
            stranger.post("/recover/prove?kind=totp", code="000000")


def test_strangers_do_not_lock_a_factor_for_a_known_browser(portal):
    totp = enrolled(portal)
    owner = signed_in(portal, totp)
    lock_by_recovery(portal)
    elsewhere = show(portal, Browser(portal.url).sign_in("ann"), totp)
    assert elsewhere.problem == "Too many wrong codes in a row."
    assert show(portal, owner.sign_in("ann"), totp).heading == "You are signed in"


def test_nor_a_card(portal, container_class, wrong_code):
    seed = register_card(portal, container_class)
    totp = enrolled(portal)
    boss = portal.staff("boss", "administrator")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    owner = signed_in(portal, totp)
    sql(portal, "UPDATE card SET failures = 10, lockout_s = 60, blocked_until = 9999999999")
    owner.sign_in("ann").get("/second/card/A1")
    assert owner.post("/second/card/A1", code=hotp(seed, 1, 6)).heading == "You are signed in"
    # A used code stays used.
    owner.get("/").post("/sign-out")
    sql(portal, "UPDATE card SET failures = 10, lockout_s = 60, blocked_until = 9999999999")
    owner.sign_in("ann").get("/second/card/A1")
    assert owner.post("/second/card/A1", code=hotp(seed, 1, 6)).heading != "You are signed in"


def test_a_known_browser_has_so_many_guesses_a_day_in_spite_of_a_lock(portal):
    """And they lengthen the strangers' lock by nothing, nor lift it."""
    portal.policy(max_failures=3)
    totp = enrolled(portal)
    thief = signed_in(portal, totp)
    lock_by_recovery(portal)
    locked = sql(portal, "SELECT failures, lockout_s, blocked_until FROM factor ORDER BY id")
    thief.sign_in("ann")
    key = sql(portal, "SELECT id FROM factor WHERE kind = 'totp'")[0][0]
    thief.get(f"/second/totp/{key}")
    problems = [thief.post(f"/second/totp/{key}", code="000000").problem for _ in range(4)]
    assert problems == ["That was not right."] * 3 + ["Too many wrong codes in a row."]
    assert (
        sql(portal, "SELECT failures, lockout_s, blocked_until FROM factor ORDER BY id") == locked
    )
    assert show(portal, thief, totp).problem == "Too many wrong codes in a row."


def test_it_confirms_a_change_in_spite_of_a_lock(portal):
    totp = enrolled(portal)
    owner = portal.with_app(Browser(portal.url), "ann", totp)
    portal.clock.advance(400)
    lock_by_recovery(portal)
    key = sql(portal, "SELECT id FROM factor WHERE kind = 'totp'")[0][0]
    owner.get("/prove?next=/p/default/password").get(f"/prove/totp/{key}")
    owner.post(f"/prove/totp/{key}", code=app_code(portal, totp))
    assert owner.get("/password").page.status_code == 200
    assert owner.heading == "Change your password"
