"""Signing in with a security key alone: where policy allows it, with its user verified, once."""

from __future__ import annotations

import html
import json
import re
from uuid import UUID

import httpx
import pytest

from tallystick.server.accounts import credentials, firms, people
from tallystick.server.accounts.credentials import Role
from tallystick.server.store.opened import opened
from tests.server.chromium import first_password, make, sign_in, sign_out, virtual_key
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser, Portal
from tests.server.soft_key import SoftKey
from tests.server.test_accessibility import Inspector, touched
from tests.server.test_key_trust import amr, enrol, number_of, origin
from tests.server.test_key_trust import sign_in as with_password

MODEL = UUID("00000000-0000-4000-8000-000000000007")


@pytest.fixture
def key(portal: Portal) -> SoftKey:
    """Of ann, in a firm that lets keys alone sign in."""
    portal.person("ann", email="ann@firm.example")
    made = SoftKey(MODEL)
    browser = enrol(Browser(portal.url).sign_in("ann"), made)
    assert "It works, and is enrolled" in browser.page.text
    portal.policy(key_alone=True)
    return made


def asked(portal: Portal, next_url: str = "", firm: str = "default") -> tuple[Browser, dict]:
    """→ a browser on the page that asks for a key, and what it asks"""
    browser = portal.browser(firm).get("/sign-in")
    assert "Sign in with a key alone" in browser.page.text
    browser.post("/passkey", next=next_url)
    options = re.search(r'data-options="(.*?)"', browser.page.text).group(1)
    return browser, json.loads(html.unescape(options))


def answer(browser: Browser, key: SoftKey, options: dict, *, named: bool = True) -> Browser:
    said = key.get(options, origin(browser), named=named)
    return browser.post("/passkey/prove", response=said)


def acts(portal: Portal) -> str:
    return portal.staff("eye", "auditor").get("/audit").page.text


def refused(browser: Browser, words: str) -> bool:
    return words in browser.problem and "tally_session" not in browser.http.cookies


def test_a_key_alone_is_two_factors(portal, key):
    browser, options = asked(portal, "/p/default/password")
    assert options["userVerification"] == "required" and not options.get("allowCredentials")
    answer(browser, key, options)
    assert "url=/p/default/password" in browser.page.text
    assert browser.get("/").heading == "My account"
    assert amr(portal)[-1] == {"pop", "user", "mfa"}
    log = acts(portal)
    assert "pop,user,mfa" in log and "showed a second factor" in log


def test_a_challenge_is_good_for_one_answer(portal, key):
    browser, options = asked(portal)
    said = key.get(options, origin(browser), named=True)
    browser.post("/passkey/prove", response=said)
    again, _ = asked(portal)
    again.http.cookies.update(browser.http.cookies)
    again.post("/passkey/prove", response=said)  # its attempt is gone
    other, _ = asked(portal)
    assert refused(other.post("/passkey/prove", response=said), "not right")


def test_a_wrong_answer_uses_the_challenge_up(portal, key):
    browser, options = asked(portal)
    wrong = json.loads(key.get(options, origin(browser), named=True))
    wrong["response"]["signature"] = "AAAA"
    assert refused(browser.post("/passkey/prove", response=json.dumps(wrong)), "not right")
    assert refused(answer(browser, key, options), "too long, or was finished")


@pytest.mark.parametrize("what", ["unverified", "unnamed", "other handle", "other key", "rubbish"])
def test_what_opens_nothing(portal, key, what):
    browser, options = asked(portal)
    words = "opens no account"
    if what == "unverified":
        key.verified, words = False, "not right"
        answer(browser, key, options)
    elif what == "unnamed":
        answer(browser, key, options, named=False)
    elif what == "other handle":
        key.handle, words = "AAAA", "not right"
        answer(browser, key, options)
    elif what == "other key":
        stranger = SoftKey(MODEL, handle=key.handle)
        answer(browser, stranger, options)
        assert "came with a security key that opens nothing here" in acts(portal)
    else:
        words = "sent no answer"
        browser.post("/passkey/prove", response="[]")
    assert refused(browser, words)


def test_not_without_policy(portal, key):
    browser, options = asked(portal)
    portal.policy(key_alone=False)
    assert refused(answer(browser, key, options), "asks for a password, too")
    page = portal.browser().get("/sign-in")
    assert "key alone" not in page.page.text
    assert refused(page.post("/passkey"), "asks for a password, too")
    portal.policy(key_alone=True, methods=["totp"], recovery_methods=["totp"])
    assert "key alone" not in portal.browser().get("/sign-in").page.text


def test_not_somebody_who_is_barred(portal, key):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        person = people.by_login(connection, 1, "ann")
        people.change(connection, 1, person.id, disabled_at=int(portal.clock()))
    browser, options = asked(portal)
    assert refused(answer(browser, key, options), "opens no account")


def test_not_in_another_firm(portal, key):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
    portal.policy("other", key_alone=True)
    browser, options = asked(portal, firm="other")
    assert refused(answer(browser, key, options), "opens no account")
    # Nor does an attempt of one firm serve in another.
    browser, options = asked(portal, firm="other")
    token = browser.http.cookies.get("tally_attempt")
    own, _ = asked(portal)
    own.http.cookies.clear()
    own.get("/sign-in").http.cookies.set("tally_attempt", token, path="/p/default")
    assert refused(answer(own, key, options), "too long, or was finished")


def test_an_attempt_of_a_key_is_no_second_step(portal, key):
    """Nor the other way round: each is for its own flow."""
    browser, options = asked(portal)
    assert browser.get("/second").page.status_code == 401
    other = portal.browser().sign_in("ann")
    assert refused(answer(other, key, options), "too long, or was finished")


def test_a_place_has_so_many_tries(portal, key):
    portal.policy(sign_in_failures_per_source=10)
    for _ in range(10):
        browser, options = asked(portal)
        answer(browser, SoftKey(MODEL, handle=key.handle), options)
    browser = portal.browser().get("/sign-in").post("/passkey")
    assert browser.page.status_code == 429 and "Too many tries to sign in" in browser.problem


def test_a_form_of_elsewhere_begins_nothing(portal, key):
    browser = portal.browser().get("/sign-in")
    page = browser.http.post("/p/default/passkey", data={"csrf": "0" * 32})
    assert page.status_code == 403 and "tally_attempt" not in browser.http.cookies


def test_in_a_real_browser(page, portal, settings, clock):
    """Chromium's own authenticator, which keeps who its user is."""
    portal.policy(key_alone=True)
    first_password(page, "ann", make(settings, clock, "ann"))
    sign_in(page, "ann")
    page.get_by_role("heading", name="My account").wait_for()
    key = virtual_key(page)
    page.goto("/p/default/enrol/webauthn")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It works").wait_for()
    sign_out(page)
    inspect = Inspector(page)
    inspect("sign in, with a key or without")
    touched(key, at_once=False)
    page.get_by_role("button", name="Sign in with a key alone").click()
    page.get_by_role("heading", name="Sign in with a key alone").wait_for()
    inspect("a key is asked for")
    page.get_by_role("link", name="Sign in with your password").click()
    page.get_by_label("Login name").wait_for()
    touched(key, at_once=True)
    page.get_by_role("button", name="Sign in with a key alone").click()
    page.get_by_role("heading", name="My account").wait_for()
    assert inspect.found == {}


def put_in(portal: Portal, role: Role, key: SoftKey, login: str = "ann") -> None:
    """A station, or an administrator's program, enrols a key for somebody."""
    with opened(portal.settings) as parts, parts.database.write() as connection:
        made = credentials.add(
            connection, parts.ring, role=role, name="puts in", now=portal.clock(), actor="test"
        )
    program = httpx.Client(base_url=portal.url, headers=bearer(made))
    asked = program.post("/v1/keys/options", json={"user": login}).raise_for_status().json()
    response = json.loads(key.create(asked["options"], asked["origin"]))
    body = {field: asked[field] for field in ("nonce", "until")} | {"user": login, "serial": "7"}
    program.post("/v1/keys", json=body | {"response": response}).raise_for_status()


@pytest.mark.parametrize("role", [Role.STATION, Role.ADMIN])
def test_a_key_that_was_put_in_for_somebody_opens_nothing_alone(portal, role):
    """Whoever puts it in has it in the hand, and may know its PIN."""
    portal.person("ann")
    portal.policy(key_alone=True)
    put_in(portal, role, key := SoftKey(MODEL))
    browser, options = asked(portal)
    assert refused(answer(browser, key, options), "once with your password")
    # Its holder shows it together with the password: from then on it is good alone.
    sign_in_by(portal, key)
    browser, options = asked(portal)
    answer(browser, key, options)
    assert browser.get("/").heading == "My account"


def test_a_wrong_answer_of_it_confirms_nothing(portal):
    portal.person("ann")
    portal.policy(key_alone=True)
    put_in(portal, Role.STATION, key := SoftKey(MODEL))
    stranger = SoftKey(MODEL, handle=key.handle, id=key.id)
    assert "not right" in sign_in_by(portal, stranger).problem
    browser, options = asked(portal)
    assert refused(answer(browser, key, options), "once with your password")


def sign_in_by(portal: Portal, key: SoftKey) -> Browser:
    return with_password(portal, key, number_of(portal))
