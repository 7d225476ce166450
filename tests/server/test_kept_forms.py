"""A form of staff that comes too late for the last proof is kept, and sent once it was shown."""

from __future__ import annotations

import re
from html import unescape

import pytest
from sqlalchemy import select

from tallystick.server.signing_in.attempts import LIFE_S
from tallystick.server.signing_in.stepup import FRESH_S, MOST_KEPT
from tallystick.server.store.models_login import Attempt
from tallystick.server.store.opened import opened
from tests.server.portal_driver import Browser
from tests.server.test_account import key_of

NAME = 'Bo "the <b>bold</b>" Ås'


@pytest.fixture
def waiting(portal):
    """An administrator whose last proof is too old, before the list of people."""
    portal.person("root", role="administrator")
    browser = Browser(portal.url).sign_in("root")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    browser.sign_in("root")
    key = key_of(browser, "totp")
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    portal.clock.advance(FRESH_S)
    return browser.get("/people"), totp


def shown(portal, browser: Browser, totp) -> Browser:
    """The second factor, as it is asked for."""
    assert browser.heading.startswith("How do you want"), browser.page.text
    key = key_of(browser, "totp")
    browser.get(f"/prove/totp/{key}")
    return browser.post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))


def kept(browser: Browser) -> dict[str, str]:
    form = re.search(r'<form[^>]*class="card">(.*?)</form>', browser.page.text, re.S).group(1)
    pairs = re.findall(r'type="hidden" name="(.*?)" value="(.*?)"', form, re.S)
    return {name: unescape(value) for name, value in pairs if name != "csrf"}


def contexts(portal) -> list[str]:
    with opened(portal.settings) as parts, parts.database.read() as connection:
        return list(connection.scalars(select(Attempt.context)))


def test_it_is_sent_after_the_proof(portal, waiting):
    browser, totp = waiting
    fields = {"login": "bo", "name": NAME, "email": "bo@firm.example", "role": "user"}
    browser.post("/people", **fields)
    assert "bo@firm" not in "".join(contexts(portal))
    shown(portal, browser, totp)
    assert "was kept" in browser.page.text
    assert kept(browser) == fields
    assert 'action="/p/default/people"' in browser.page.text
    assert 'http-equiv="refresh"' not in browser.page.text
    assert "bo@firm" not in browser.get("/people").page.text  # nothing was done by itself
    browser.post("/people", **fields)
    assert browser.heading == "bo"
    assert NAME in unescape(browser.page.text)


@pytest.mark.parametrize("where", ["/people", "/prove"])
def test_it_is_left_where_something_else_is_asked_for(portal, waiting, where):
    """Back at the page that it was for it still waits; elsewhere it does not follow."""
    browser, totp = waiting
    browser.post("/people", login="bo", role="user")
    browser.get("/prove" if where == "/prove" else "/prove?next=/p/default/password")
    shown(portal, browser, totp)
    assert ("was kept" in browser.page.text) == (where == "/prove")


def test_a_form_of_another_site_is_not(portal, waiting):
    browser, totp = waiting
    for headers, fields in (
        ({"origin": "https://evil.example"}, {"csrf": csrf_of(browser)}),
        ({"origin": browser.origin}, {"csrf": "0" * 32}),
        ({"origin": browser.origin, "sec-fetch-site": "cross-site"}, {"csrf": csrf_of(browser)}),
    ):
        sent = fields | {"login": "eve", "role": "administrator"}
        browser.page = browser.http.post(browser.base + "/people", data=sent, headers=headers)
        shown(portal, browser, totp)
        assert browser.heading == "Thank you"
        assert "was kept" not in browser.page.text
        portal.clock.advance(FRESH_S)
        browser.get("/people")


def csrf_of(browser: Browser) -> str:
    return re.search(r'name="csrf" value="(\w+)"', browser.page.text).group(1)


def test_nor_one_too_long_or_too_old_or_of_another_session(portal, waiting):
    browser, totp = waiting
    long = {f"line{n}": "x" * 19_000 for n in range(MOST_KEPT // 19_000 + 1)}
    browser.post("/people", login="bo", **long)
    assert "was kept" not in shown(portal, browser, totp).page.text
    portal.clock.advance(FRESH_S)
    browser.get("/people").post("/people", login="bo", role="user")
    portal.clock.advance(LIFE_S)
    browser.get("/prove?next=/p/default/people")
    assert "was kept" not in shown(portal, browser, totp).page.text


def test_its_text_opens_for_its_session_alone(portal, waiting):
    browser, totp = waiting
    browser.post("/people", login="bo", role="user")
    (context,) = contexts(portal)
    other = Browser(portal.url).sign_in("root")
    key = key_of(other, "totp")
    other.get(f"/second/totp/{key}")
    portal.clock.advance(30)
    other.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    portal.clock.advance(FRESH_S)
    other.get("/prove?next=/p/default/people")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        connection.execute(Attempt.__table__.update().values(context=context))
    assert "was kept" not in shown(portal, other, totp).page.text
    portal.clock.advance(30)
    browser.get("/prove")
    assert "was kept" in shown(portal, browser, totp).page.text


def test_of_a_policy_it_says_what_would_change(portal, waiting):
    """Somebody else may have sent it from this desk: one field of fifty, or a tick taken away."""
    browser, totp = waiting
    ticked = re.findall(r'name="([\w.]+)" value="yes" checked', browser.get("/policy").page.text)
    fields = dict.fromkeys(ticked, "yes") | {"max_failures": "50", "session_hours": "12"}
    del fields["recovery_methods.card"]
    browser.post("/policy", **fields)
    shown(portal, browser, totp)
    said = dict(re.findall(r"<li>([^<]*): <span[^>]*>(.*?)</span></li>", browser.page.text))
    assert list(said.values()) == ["card, email, totp → email, totp", "10 → 50"], said
    assert "Methods that may recover a password" in said
    assert kept(browser)["max_failures"] == "50"


def test_of_a_policy_that_will_be_refused_it_says_all(portal, waiting):
    browser, totp = waiting
    browser.get("/policy").post("/policy", max_failures="no number")
    assert "no number" in shown(portal, browser, totp).page.text
    browser.get("/policy")
