"""One's own account: names and last use of methods, and proof before it is changed."""

from __future__ import annotations

import json
import re

import httpx
import pyotp
import pytest

from tallystick.server.accounts import sessions
from tallystick.server.loans.undo import UNDO_S
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in.stepup import FRESH_S
from tallystick.server.store.models_login import SessionRow
from tallystick.server.store.opened import opened
from tests.server.portal_driver import PASSWORD, Browser
from tests.server.test_portal import register_card
from tests.server.test_two_factors import sql


def key_of(browser: Browser, kind: str) -> str:
    return re.search(rf"/(?:second|prove|methods)/{kind}/([\w-]+)", browser.page.text).group(1)


def prove(portal, browser: Browser, totp) -> Browser:
    """Answer the page that asks for a second factor again, and follow it on."""
    assert browser.heading.startswith("How do you want"), browser.page.text
    key = key_of(browser, "totp")
    portal.clock.advance(30)
    browser.get(f"/prove/totp/{key}")
    browser.post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))
    assert browser.heading == "Thank you"
    return browser.get(re.search(r'url=/p/default(/[^"]*)"', browser.page.text).group(1))


@pytest.mark.parametrize("kind", ["totp", "sms", "email", "card"])
def test_each_method_is_named_used_and_removed(portal, container_class, kind):
    """WebAuthn needs an authenticator: `test_browser` does the same with one."""
    portal.person("ann", email="ann@firm.example")
    browser = Browser(portal.url).sign_in("ann")
    spare = portal.enrol_totp(browser)
    seed = register_card(portal, container_class)
    if kind == "totp":
        other = portal.enrol_totp(browser)
    elif kind == "card":
        browser.get("/enrol/card").post("/enrol/card", serial="A1")
        codes = {"code": hotp(seed, 0, 6), "second_code": hotp(seed, 1, 6)}
        browser.post("/enrol/card/A1/confirm", **codes)
    else:
        address = "+4740000089" if kind == "sms" else "a@elsewhere.example"
        browser.get(f"/enrol/{kind}").post(f"/enrol/{kind}", address=address)
        key = re.search(rf"/enrol/{kind}/(\d+)/confirm", browser.page.text).group(1)
        browser.post(f"/enrol/{kind}/{key}/confirm", code=portal.code(1))
    browser.get("/")
    key = re.findall(rf"/methods/{kind}/([\w-]+)/rename", browser.page.text)[-1]
    browser.post(f"/methods/{kind}/{key}/rename", label="<b>Mine</b> & best")
    assert "&lt;b&gt;Mine&lt;/b&gt; &amp; best" in browser.page.text
    for bad in ("", "x" * 65, "two\nlines"):
        assert browser.post(f"/methods/{kind}/{key}/rename", label=bad).page.status_code == 422
    assert "best" in browser.get("/").page.text

    portal.clock.advance(7200)  # 10:00 on the day of the tests
    browser = Browser(portal.url).sign_in("ann")
    if kind in ("sms", "email"):
        sent = len(portal.messages())
        browser.post(f"/second/{kind}/{key}/ask")
        while not (code := re.search(r"\b\d{6}\b", portal.messages(sent + 1)[-1]["text"])):
            sent += 1
        code = code.group()
    else:
        browser.get(f"/second/{kind}/{key}")
        code = hotp(seed, 2, 6) if kind == "card" else other.at(int(portal.clock()))
    browser.post(f"/second/{kind}/{key}", code=code)
    browser.get("/")
    used = re.search(r"best</strong>\s*<span>[^<]*last used ([\w :]+)", browser.page.text)
    assert used.group(1).startswith("Fri 15 Jan 2027 10:0")

    browser.get(f"/methods/{kind}/{key}/remove")
    assert browser.heading.endswith("&lt;b&gt;Mine&lt;/b&gt; &amp; best")
    browser.post(f"/methods/{kind}/{key}/remove")
    assert "It is removed." in browser.page.text
    assert "best" not in browser.get("/").page.text
    assert browser.get(f"/methods/{kind}/{key}/remove").page.status_code == 404
    acts = [f"a way to sign in was {what}" for what in ("added", "renamed", "removed")]
    assert portal.told(*acts, to="ann@firm.example")
    assert spare


def test_the_next_holder_of_a_card_does_not_see_its_name(portal, container_class):
    seed = register_card(portal, container_class)
    boss = portal.staff("boss", "administrator")
    portal.person("ann", email="ann@firm.example")
    portal.person("bob")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    with opened(portal.settings) as parts, parts.database.write() as connection:
        from sqlalchemy import text

        connection.execute(text("UPDATE assignment SET label = 'secret name'"))
    boss.get("/cards").post("/cards/A1/take-back", reason="left behind")
    boss.get("/cards").post("/cards/A1/assign", user="bob", code=hotp(seed, 1, 6))
    assert (
        "secret name"
        not in boss.get("/people").page.text + Browser(portal.url).sign_in("bob").page.text
    )
    portal.clock.advance(UNDO_S)  # they wait as long
    acts = ("card A1 was assigned to you", "card A1 was taken back")
    assert portal.told(*acts, to="ann@firm.example")


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        (["lost"], "card A1 was reported lost"),
        (["lost", "found"], "card A1 was reported found"),
        (["retire"], "card A1 was retired"),
    ],
)
def test_a_holder_is_told_what_became_of_the_card(portal, container_class, acts, said):
    """Whoever says that it was found, say, may have stolen it."""
    seed = register_card(portal, container_class)
    boss = portal.staff("boss", "administrator")
    portal.person("ann", email="ann@firm.example")
    boss.get("/cards").post("/cards/A1/assign", user="ann", code=hotp(seed, 0, 6))
    portal.clock.advance(UNDO_S)
    for act in acts:
        boss = boss.get("/cards")
        boss.post(f"/cards/A1/{act}", code=hotp(seed, 1, 6), confirm="A1")
        assert boss.page.is_success, boss.page.text
        portal.clock.advance(UNDO_S)  # they wait as long
    told = [m["text"] for m in portal.messages(2 + len(acts)) if m["to"] == "ann@firm.example"]
    assert any(said in text for text in told), told


CHANGES = ["/password", "/address", "/enrol/sms", "/methods/totp/{key}/remove"]


@pytest.mark.parametrize("path", CHANGES)
def test_an_open_browser_is_not_enough(portal, path):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    path = path.format(key=key_of(browser.get("/"), "totp"))
    assert not browser.get(path).heading.startswith("How do you want")
    portal.clock.advance(FRESH_S)
    # Neither the page nor its form, which may have been open all the time.
    for ask in (browser.get, browser.get("/").post):
        ask(path)
        assert browser.heading.startswith("How do you want"), path
    with opened(portal.settings) as parts, parts.database.read() as connection:
        assert len(sessions.of_person(connection, 1, portal.clock())) == 1
    # A wrong code does not help; a right one leads on to the page that was asked for.
    key = key_of(browser, "totp")
    browser.get(f"/prove/totp/{key}").post(f"/prove/totp/{key}", code="000000")
    assert browser.problem == "That was not right."
    prove(portal, browser.get("/prove"), totp)
    assert str(browser.page.url).endswith(f"/p/default{path}")


@pytest.mark.parametrize("enrolled", [True, False])
def test_nor_is_one_on_the_last_page_of_an_enrolment(portal, enrolled):
    """What there is to scan stands on it. Whoever has no second factor yet may take his time."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser) if enrolled else None
    browser.get("/enrol/totp").post("/enrol/totp", label="Another")
    key = re.search(r"/enrol/totp/(\d+)/confirm", browser.page.text).group(1)
    secret = re.search(r'class="secret">(\w+)<', browser.page.text).group(1)
    portal.clock.advance(FRESH_S)
    code = pyotp.TOTP(secret).at(int(portal.clock()))
    browser.post(f"/enrol/totp/{key}/confirm", code=code)
    assert ("is enrolled" in browser.page.text) is not enrolled
    if totp is not None:
        prove(portal, browser, totp)
        assert str(browser.page.url).endswith("/enrol/totp")


@pytest.mark.parametrize("path", ["/enrol/sms", "/password", "/address"])
def test_nor_is_a_remembered_browser_with_the_password(portal, path):
    """A moment after the sign-in, too: what it has shown is one factor."""
    portal.policy(remember_device_days=7)
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    key = re.search(r"/second/totp/(\d+)", browser.sign_in("ann").page.text).group(1)
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember="yes")
    browser.get("/").post("/sign-out")
    assert browser.sign_in("ann").heading == "You are signed in"
    for ask in (browser.get, browser.get("/").post):
        assert ask(path).heading.startswith("How do you want"), path


def test_without_a_second_factor_the_password_is_asked_for_again(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    assert browser.get("/enrol/totp").heading == "Add: Authenticator app"
    portal.clock.advance(FRESH_S)
    for ask in (browser.get, browser.get("/").post):
        ask("/enrol/totp")
        assert browser.heading == "Sign in"
    browser.post("/sign-in", login="ann", password=PASSWORD, next="/p/default/enrol/totp")
    assert 'url=/p/default/enrol/totp"' in browser.page.text
    assert browser.get("/enrol/totp").heading == "Add: Authenticator app"


def test_a_proof_is_for_one_session_and_person(portal):
    portal.person("ann")
    totp = portal.enrol_totp(first := Browser(portal.url).sign_in("ann"))
    portal.person("eve")
    portal.enrol_totp(eve := Browser(portal.url).sign_in("eve"))
    portal.clock.advance(FRESH_S)
    first.get("/password")
    key = key_of(first, "totp")
    eve.get("/password")
    eve.get(f"/prove/totp/{key}")
    assert eve.page.status_code == 404
    eve.get("/").post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))
    assert eve.page.status_code == 404
    # Without having been asked, a session has nothing to prove itself in.
    with opened(portal.settings) as parts, parts.database.write() as connection:
        from sqlalchemy import text

        connection.execute(text("DELETE FROM attempt"))
    first.get("/").post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))
    assert first.page.status_code == 401


@pytest.mark.parametrize("flow", ["second", "prove"])
def test_where_no_more_codes_are_sent_another_method_is_offered(portal, flow):
    """Whichever flow asks; the code that was sent before stays good."""
    portal.person("ann")
    portal.enrol_totp(browser := Browser(portal.url).sign_in("ann"))
    browser.get("/enrol/sms").post("/enrol/sms", address="+4740000089")
    key = re.search(r"/enrol/sms/(\d+)/confirm", browser.page.text).group(1)
    browser.post(f"/enrol/sms/{key}/confirm", code=portal.code(1))
    portal.policy(sends_per_person_per_hour=2)
    if flow == "second":
        browser = Browser(portal.url).sign_in("ann")
    browser.get(f"/{flow}").post(f"/{flow}/sms/{key}/ask")
    assert "A code is on its way" in browser.page.text
    browser.post(f"/{flow}/sms/{key}/ask")
    assert (browser.page.status_code, "Phone" in browser.page.text) == (429, True)
    assert browser.heading.startswith("How do you want")
    browser.post(f"/{flow}/sms/{key}", code="12345")
    assert browser.problem == "That was not right."
    code = portal.code(2)
    browser.post(f"/{flow}/sms/{key}", code=code)
    assert 'url=/p/default/"' in browser.page.text


def test_next_of_a_proof_never_leads_elsewhere(portal):
    portal.person("ann")
    totp = portal.enrol_totp(browser := Browser(portal.url).sign_in("ann"))
    browser.get("/prove?next=https://evil.example/")
    key = key_of(browser, "totp")
    browser.get(f"/prove/totp/{key}").post(f"/prove/totp/{key}", code=totp.at(int(portal.clock())))
    assert 'url=/p/default/"' in browser.page.text


def test_the_address_for_notices(portal):
    portal.person("ann", email="old@firm.example")
    browser = Browser(portal.url).sign_in("ann").get("/address")
    for bad in ("nonsense", "a@b.example\nBcc: x@evil.example"):
        assert browser.post("/address", address=bad).page.status_code == 422
    browser.post("/address", address="new@firm.example")
    assert "new@firm.example" in browser.page.text
    told = {m["to"]: m["text"] for m in portal.messages(3)}
    for address in ("old@firm.example", "new@firm.example"):
        assert "the address for such notices was changed" in told[address]


def test_an_address_that_is_saved_as_it_was_stays_as_it_was(portal):
    """Also as one that the firm vouches for: whoever signs in by it goes on to do so."""
    portal.person("ann", email="ann@firm.example")
    browser = Browser(portal.url).sign_in("ann").get("/address")
    for fields in ({"address": " ann@firm.example "}, {}):
        browser.get("/address").post("/address", **fields)
        assert browser.page.is_success
    with opened(portal.settings) as parts, parts.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT email, email_verified FROM person")
        assert rows.all() == [("ann@firm.example", 1)]
        told = connection.exec_driver_sql("SELECT action FROM audit")
        assert "address-changed" not in told.scalars()
    assert Browser(portal.url).sign_in("ann@firm.example").heading == "You are signed in"


def test_staff_changes_are_told(portal):
    boss = portal.staff("boss", "administrator")
    portal.person("ann", email="old@firm.example")
    person = re.search(r"/people/(\d+)\">ann<", boss.get("/people?q=ann").page.text).group(1)
    boss.get(f"/people/{person}")
    boss.post(f"/people/{person}", role="user", email="not an address")
    assert boss.page.status_code == 422
    boss.post(f"/people/{person}", role="auditor", email="new@firm.example")
    boss.post(f"/people/{person}/unlock")
    boss.post(f"/people/{person}/end-sessions")
    boss.post(f"/people/{person}", role="auditor", email="new@firm.example", disabled="yes")
    texts = {(m["to"], m["text"]) for m in portal.messages(8)}
    for address, what in (
        ("old@firm.example", "your role was changed to auditor"),
        ("new@firm.example", "your role was changed to auditor"),
        ("old@firm.example", "the address for such notices was changed"),
        ("new@firm.example", "a pause after wrong codes or passwords was ended early"),
        ("new@firm.example", "you were signed out everywhere"),
        ("new@firm.example", "you were barred from signing in"),
    ):
        assert any(to == address and what in text for to, text in texts), (address, what)


def test_every_lock_out_is_lifted(portal):
    portal.policy(max_failures=3, lockout_s=86400, lockout_max_s=86400)
    boss = portal.staff("boss", "administrator")
    portal.person("ann")
    totp = portal.enrol_totp(browser := Browser(portal.url).sign_in("ann"))
    browser = Browser(portal.url).sign_in("ann")
    key = key_of(browser, "totp")
    browser.get(f"/second/totp/{key}")
    for _ in range(3):
        browser.post(f"/second/totp/{key}", code="000000")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    assert browser.page.status_code == 429
    person = re.search(r"/people/(\d+)\">ann<", boss.get("/people?q=ann").page.text).group(1)
    boss.get(f"/people/{person}").post(f"/people/{person}/unlock")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())))
    assert browser.heading == "You are signed in"


def test_two_support_agents_do_not_make_an_administrator(portal):
    """Recovery of someone with more rights needs one of the two to have them."""
    one, two = portal.staff("one", "support"), portal.staff("two", "support")
    chief = portal.staff("chief", "administrator")
    portal.person("boss", "administrator")
    person = re.search(r"/people/(\d+)\">boss<", one.get("/people?q=boss").page.text).group(1)
    one.get(f"/people/{person}").post(f"/people/{person}/help/ask")
    number = re.search(r'name="request" value="(\d+)"', two.get(f"/people/{person}").page.text)
    two.post(f"/people/{person}/help/agree", request=number.group(1))
    assert two.page.status_code == 403
    assert two.problem == "boss has rights that neither of you has."
    chief.get(f"/people/{person}").post(f"/people/{person}/help/agree", request=number.group(1))
    assert chief.page.status_code == 200
    one.get(f"/people/{person}").post(f"/people/{person}/help/collect", request=number.group(1))
    assert "secret big" in one.page.text


def test_signing_in_again_ends_the_session_before(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    old = browser.http.cookies["tally_session"]
    browser.get("/sign-in?again=yes")
    assert browser.heading == "Sign in"
    browser.post("/sign-in", login="ann", password=PASSWORD)
    assert browser.http.cookies["tally_session"] != old
    cookie = {"cookie": f"tally_session={old}"}
    assert httpx.get(f"{portal.url}/p/default/", headers=cookie, timeout=60).status_code == 303
    with opened(portal.settings) as parts, parts.database.read() as connection:
        from sqlalchemy import func, select

        assert connection.scalar(select(func.count()).select_from(SessionRow)) == 1


def test_not_below_what_policy_asks_for(portal):
    """Two authenticator apps are one kind of method."""
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    portal.enrol_totp(browser)
    portal.enrol_totp(browser)
    portal.policy(minimum_methods=2)
    assert "asks for 2 kinds of second factor" in browser.get("/").page.text
    key = key_of(browser, "totp")
    browser.post(f"/methods/totp/{key}/remove")
    assert browser.problem == "Your firm asks for 2 at least."
    portal.policy(minimum_methods=1)
    browser.get("/").post(f"/methods/totp/{key}/remove")
    assert "It is removed." in browser.page.text


def test_whatever_is_done_to_ones_own_account_has_an_entry(portal):
    """Who, what and whom: also where nobody is told by mail."""
    portal.policy(remember_device_days=7, minimum_methods=0)
    portal.person("ann", email="ann@firm.example")
    browser = Browser(portal.url).sign_in("ann")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    key = key_of(browser.sign_in("ann"), "totp")
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember="yes")
    other = Browser(portal.url)
    other.http.cookies.update({"tally_device": browser.http.cookies["tally_device"]})
    assert other.sign_in("ann").heading == "You are signed in"
    seen = len(sql(portal, "SELECT number FROM audit"))
    handle = re.search(r"/browsers/(\w+)/forget", browser.get("/").page.text).group(1)
    session = re.search(r"/sessions/(\d+)/end", browser.page.text).group(1)
    for path, fields in (
        (f"/browsers/{handle}/forget", {}),
        (f"/sessions/{session}/end", {}),
        ("/sessions/end-others", {}),
        (f"/methods/totp/{key}/rename", {"label": "Mine"}),
        ("/address", {"address": "ann@home.example"}),
        ("/password", {"old": PASSWORD, "password": "plain violet harbour"}),
        (f"/methods/totp/{key}/remove", {}),
        ("/sign-out", {}),
    ):
        browser.get("/").post(path, **fields)
    done = sql(portal, "SELECT action, actor, subject FROM audit ORDER BY number")[seen:]
    assert done == [
        (action, "person:1", "ann")
        for action in (
            "browser-forgotten", "session-ended", "sessions-ended", "method-renamed",
            "address-changed", "password-changed", "method-removed", "signed-out",
        )
    ]  # fmt: skip
    said = dict(sql(portal, "SELECT action, detail FROM audit"))
    labels = [json.loads(said[f"method-{act}"])["label"] for act in ("renamed", "removed")]
    assert labels == ["Phone → Mine", "Mine"]
