"""The employee's first day: what the pages say and in which order; signing in by address; browsers
that are remembered; the page at `/`."""

from __future__ import annotations

import re
from datetime import date

import pytest

from tallystick.server.accounts import firms
from tallystick.server.accounts.policy import FirmPolicy, MethodKind
from tallystick.server.methods import METHODS
from tallystick.server.portal import STATIC, first_day
from tallystick.server.signing_in.login import PendingSignIn, Signed
from tallystick.server.store.opened import opened
from tests.server.house import PASSWORD, refused
from tests.server.portal_driver import Browser

AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML) Chromium/150.0 Chrome/150.0"


def offered(browser: Browser) -> list[str]:
    return re.findall(r'class="choice" href="/p/default/enrol/(\w+)"', browser.get("/").page.text)


def test_methods_in_the_order_that_the_firm_recommends(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    assert offered(browser) == ["totp", "card", "webauthn", "email", "sms"]
    assert browser.page.text.count("Recommended") == 1
    assert "takes over your number" in browser.page.text
    portal.policy(method_order=["card"], methods=["card", "totp", "codes"])
    assert offered(browser) == ["card", "totp", "codes"]


def test_each_method_has_its_picture_and_two_sentences():
    for kind in MethodKind:
        one = first_day.about(kind)
        assert one.what.endswith(".") and one.where.endswith(".")
        assert (STATIC / "pictures" / one.picture).is_file()
    for kind in (MethodKind.SMS, MethodKind.EMAIL):
        assert first_day.about(kind).but
    for kind in ("totp", "card", "webauthn"):
        assert (STATIC / "pictures" / f"{kind}-steps.svg").is_file()
    assert set(METHODS) == set(MethodKind)


def test_the_nudge_to_a_second_method(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    portal.enrol_totp(browser)
    assert 'href="/p/default/enrol/card">Add: Card' in browser.get("/").page.text
    portal.policy(recommended_methods=1)
    assert "Add: Card" not in browser.get("/").page.text


def test_steps_of_the_three(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann")
    for kind, words in (("totp", "Aegis"), ("card", "skipped"), ("webauthn", "purple")):
        page = browser.get(f"/enrol/{kind}").page.text
        assert words in page and f"{kind}-steps.svg" in page
    browser.get("/enrol/totp").post("/enrol/totp", label="Phone", hash="SHA1")
    link = re.search(r'href="(otpauth://totp/[^"]+)"', browser.page.text).group(1)
    assert "algorithm" not in link  # SHA-1: some apps ignore what they are told


def test_signing_in_by_address_in_any_case(house):
    house.person("ann")
    house.change("ann", email="Ann@Example.org", email_verified=1)
    for name in ("ANN", "ann@example.org", "ANN@EXAMPLE.ORG"):
        assert isinstance(house.first(name), PendingSignIn)
    # Tries are those of the person, by whatever name.
    for turn in range(house.firm.policy.password_max_failures):
        with refused("wrong-password"):
            house.first("ann" if turn % 2 else "ann@example.org", "guess")
    with refused("too-many"):
        house.first("ann@example.org")


def test_an_address_that_is_not_vouched_for_signs_nobody_in(house):
    """Anybody can write somebody else's address into his own account."""
    house.person("eve", enrolled=False)
    house.change("eve", email="boss@example.org", email_verified=0)
    with refused("wrong-password"):
        house.first("boss@example.org")
    house.change("eve", email_verified=1)
    house.person("boss", enrolled=False)
    house.change("boss", email="BOSS@example.org", email_verified=1)
    with refused("wrong-password"):  # two of them: none is meant
        house.first("boss@example.org")
    house.person("boss@example.org", enrolled=False)
    assert isinstance(house.first("boss@example.org"), Signed)  # a login comes first


def test_remembered_browsers_are_listed_and_forgotten(portal):
    portal.policy(remember_device_days=30)
    portal.person("ann")
    browser = Browser(portal.url)
    browser.http.headers["user-agent"] = AGENT
    totp = portal.enrol_totp(browser.sign_in("ann"))
    assert "This browser: Chromium on Linux" in browser.get("/").page.text
    browser.post("/sign-out")
    browser.sign_in("ann")
    key = re.search(r"/second/totp/(\d+)", browser.page.text).group(1)
    browser.get(f"/second/totp/{key}")
    browser.post(f"/second/totp/{key}", code=totp.at(int(portal.clock())), remember="yes")
    page = browser.get("/").page.text
    assert "Browsers that are not asked" in page and page.count("Chromium on Linux") >= 2
    handle = re.search(r"/browsers/(\w+)/forget", page).group(1)
    portal.person("bob")
    other = Browser(portal.url).sign_in("bob").get("/")
    other.post(f"/browsers/{handle}/forget")
    assert handle in browser.get("/").page.text
    browser.post(f"/browsers/{handle}/forget")
    assert handle not in browser.page.text
    browser.post("/sign-out")
    assert "/second/totp/" in browser.sign_in("ann").page.text


def test_the_page_at_the_root(portal):
    browser = Browser(portal.url)
    assert browser.http.get("/").url.path == "/p/default/sign-in"
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "acme", now=0, actor="test")
    page = browser.http.get("/")
    assert page.url.path == "/" and "acme" not in page.text
    assert browser.http.get("/?firm=ACME").url.path == "/p/acme/sign-in"
    for wrong in ("nobody", "../x", "<script>", "a" * 300):
        page = browser.http.get("/", params={"firm": wrong})
        assert page.status_code == 404 and "<script>" not in page.text


def test_passwords_alone_are_longer(house):
    from tallystick.server.accounts import passwords

    policy = FirmPolicy(password_min_length=8)
    listed = house.state.breached
    passwords.check_new("mq7x gule", "ann", policy, listed, house.clock())
    alone = FirmPolicy(minimum_methods=0, password_min_length=8)
    later = FirmPolicy(second_factor_from=date(2028, 1, 1), password_min_length=8)
    for one in (alone, later):
        with pytest.raises(Exception, match="fewer than 15"):
            passwords.check_new("mq7x gule", "ann", one, listed, house.clock())
        passwords.check_new(PASSWORD, "ann", one, listed, house.clock())


def test_a_password_that_was_mistyped(portal):
    portal.person("ann")
    browser = Browser(portal.url).sign_in("ann").get("/password")
    assert "data-measures" in browser.page.text
    browser.post("/password", old=PASSWORD, password="a new long password", again="another")
    assert "not the same" in browser.problem
    assert Browser(portal.url).sign_in("ann").heading == "You are signed in"
