"""The portal in a real Chromium: WebAuthn with its virtual authenticator, keyboard, axe."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.resources import files

import pytest

from tallystick.server import firms, people, recovery
from tallystick.server.console import opened
from tallystick.server.policy import PersonRole
from tallystick.server.running import running_in_thread

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]
PASSWORD = "correct horse battery"


@pytest.fixture
def url(settings) -> Iterator[str]:
    with running_in_thread(settings) as url:
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture
def page(url: str) -> Iterator[playwright.Page]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=url)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda m: page.problems.append(m.text) if "Content Security Policy" in m.text else None,
        )
        yield page
        assert page.problems == []
        browser.close()


def make(settings, clock, login: str, role: str = "user") -> str:
    with opened(settings) as parts, parts.database.write() as connection:
        firm = firms.by_name(connection, "default")
        people.add(
            connection,
            firm_id=firm.id,
            login=login,
            role=PersonRole(role),
            email=None,
            now=clock(),
        )
        person = people.by_login(connection, firm.id, login)
        return recovery.console_help(parts, connection, person, clock())


def first_password(page, login: str, code: str) -> None:
    page.goto("/p/default/recover/help")
    page.get_by_label("Login name").fill(login)
    page.get_by_label("Code").fill(code)
    page.keyboard.press("Enter")
    page.get_by_label("New password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("new password is set").wait_for()


def sign_in(page, login: str) -> None:
    page.goto("/p/default/sign-in")
    page.get_by_role("heading", name="Sign in", exact=True).wait_for()
    page.keyboard.type(login)  # the field has the focus
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def sign_out(page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in", exact=True).wait_for()


def virtual_key(page, *, verified: bool = True):
    """A CTAP2 authenticator with a fingerprint that is presented, or not."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    answer = devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "usb",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": verified,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return devtools, answer["authenticatorId"]


def test_a_fingerprint_reader(page, settings, clock):
    first_password(page, "ann", make(settings, clock, "ann"))
    devtools, key = virtual_key(page)
    sign_in(page, "ann")
    page.get_by_role("heading", name="My account").wait_for()
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_label("Name for it").fill("My reader")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It works, and is enrolled.").wait_for()
    assert page.get_by_text("My reader").count() > 0

    sign_out(page)
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    page.get_by_role("heading", name="My account").wait_for()

    # Without the finger there is no signing in.
    sign_out(page)
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": False})
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    page.get_by_text("That did not work.").wait_for()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": key, "isUserVerified": True})
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="My account").wait_for()

    # A second enrolment of the same key is refused by the browser (excludeCredentials).
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("enrolled already").wait_for()


def test_pages_are_accessible(page, settings, clock):
    """axe-core over every kind of page, in light and dark."""
    source = (files("axe_playwright_python") / "axe.min.js").read_text()
    virtual_key(page)
    first_password(page, "boss", make(settings, clock, "boss", "administrator"))
    sign_in(page, "boss")
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It works, and is enrolled.").wait_for()
    sign_out(page)
    found: dict[str, list[str]] = {}

    def check(name: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.evaluate(source)
            result = page.evaluate("axe.run()")
            problems = [f"{v['id']}: {v['nodes'][0]['html']}" for v in result["violations"]]
            if problems:
                found[f"{name} {scheme}"] = problems

    for path in ("sign-in", "recover", "recover/help", "recover/reset", "recover/prove?kind=sms"):
        page.goto(f"/p/default/{path}")
        check(path)
    sign_in(page, "boss")
    page.get_by_role("heading", name="How do you want").wait_for()
    check("choose")
    page.get_by_role("button", name="Fingerprint reader").click()
    page.get_by_role("heading", name="My account").wait_for()
    for path in (
        "",
        "password",
        "people",
        "people/1",
        "cards",
        "policy",
        "audit",
        "enrol/card",
        "enrol/totp",
        "enrol/sms",
        "enrol/email",
        "enrol/webauthn",
    ):
        page.goto(f"/p/default/{path}")
        check(path or "home")
    page.goto("/p/default/enrol/totp")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("Scan this").wait_for()
    check("confirm totp")
    assert found == {}
