"""Every page for everybody: axe, phone width, a screen reader's tree, the keyboard alone.

Set TALLY_SCREENSHOTS to a folder to get a picture of each page, light and wide, dark and narrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tallystick.server.accounts import faces, firms
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.rules.otp import hotp
from tallystick.server.signing_in.stepup import FRESH_S
from tallystick.server.store.opened import opened
from tallystick.server.wording.catalogue import say
from tallystick.server.wording.languages import SPOKEN
from tests.server.chromium import PASSWORD, first_password, make, sign_in, sign_out, virtual_key
from tests.server.portal_driver import Browser, Portal
from tests.server.test_faces import picture
from tests.server.test_people_pages import send
from tests.server.test_portal import register_card

pytestmark = pytest.mark.slow

DESK, PHONE = {"width": 1000, "height": 800}, {"width": 320, "height": 640}
CLIPPED = "[...document.querySelectorAll('.scroll')].some(one => one.scrollWidth > one.clientWidth)"
# Of fields in one line: those that are seen.
APART = """[...document.querySelectorAll('.line input[id]')].some(field => {
  const label = document.querySelector(`label[for="${field.id}"]`)
  if (!label || !field.offsetParent) return false
  const [a, b] = [label.getBoundingClientRect(), field.getBoundingClientRect()]
  return a.bottom <= b.top && a.left > b.right
})"""
NOT_POSSIBLE = {say("Not possible", language) for language in SPOKEN}
SHOTS = os.environ.get("TALLY_SCREENSHOTS")


class Inspector:
    """Looks at the page as it is, and remembers what is wrong."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.axe = (files("axe_playwright_python") / "axe.min.js").read_text()
        self.found: dict[str, list[str]] = {}
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        page, problems = self.page, []
        self.names.append(name)
        page.evaluate(self.axe)
        problems += self._violations("axe.run({resultTypes: ['violations']})")
        page.emulate_media(color_scheme="dark")
        problems += self._violations(
            "axe.run({runOnly: ['color-contrast'], resultTypes: ['violations']})"
        )
        # Reflow (WCAG 2.1, 1.4.10): nothing needs scrolling sideways at 320 pixels.
        page.set_viewport_size(PHONE)
        wide = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        if wide[0] > wide[1]:
            problems.append(f"{wide[0]} pixels wide on a phone")
        self._picture(name, "phone-dark")
        page.set_viewport_size(DESK)
        page.emulate_media(color_scheme="light")
        self._picture(name, "desk-light")
        if page.evaluate(CLIPPED):
            problems.append("a table is wider than a desk's screen")
        if page.evaluate(APART):
            problems.append("a label stands on another line than its field")
        if page.locator("[hidden]:visible").count():
            problems.append("something is seen that is hidden")
        if page.locator("h1").count() != 1:
            problems.append("not exactly one h1")
        heading = page.locator("h1").inner_text()
        if heading not in page.title() and not any(one in page.title() for one in NOT_POSSIBLE):
            problems.append(f"the title {page.title()!r} is not of {heading!r}")
        alert = page.locator("[role=alert]:visible")
        if alert.count() and not page.title().startswith("Problem: ") and name != "webauthn fails":
            problems.append("the title does not tell of the problem")
        if problems:
            self.found[name] = problems

    def _violations(self, script: str) -> list[str]:
        result = self.page.evaluate(script)
        return [f"{v['id']}: {v['nodes'][0]['html']}" for v in result["violations"]]

    def _picture(self, name: str, how: str) -> None:
        if SHOTS:
            file = Path(SHOTS) / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.{how}.png"
            self.page.screenshot(path=file, full_page=True)


@pytest.fixture
def portal(portal_url, settings, clock, tmp_path):
    yield Portal(portal_url, settings, clock, tmp_path)
    Browser.close_all()


@pytest.fixture
def inspect(page) -> Inspector:
    page.set_viewport_size(DESK)
    return Inspector(page)


def go_on(page: Any, button: str = "Go on") -> None:
    page.get_by_role("button", name=button, exact=True).click()


def touched(key: tuple[Any, str], *, at_once: bool) -> None:
    """Whether the virtual authenticator is touched as soon as it blinks."""
    devtools, number = key
    devtools.send(
        "WebAuthn.setAutomaticPresenceSimulation",
        {"authenticatorId": number, "enabled": at_once},
    )


def enrol_everything(
    page: Any, portal: Portal, seed: bytes, key: tuple[Any, str], inspect: Inspector
) -> pyotp.TOTP:
    """Every page of every enrolment, with something wrong first where that is possible."""
    for kind in ("totp", "card", "sms", "email", "webauthn"):
        page.goto(f"/p/default/enrol/{kind}")
        inspect(f"enrol {kind}")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("Touch the reader").wait_for()
    inspect("confirm webauthn")
    page.goto("/p/default/enrol/webauthn")
    touched(key, at_once=True)
    go_on(page)
    page.get_by_text("It works").wait_for()
    inspect("home with a notice")

    page.goto("/p/default/enrol/card")
    page.get_by_label("Serial number").fill("A1")
    go_on(page)
    page.get_by_label("First code").fill("000000")
    page.get_by_label("Second code").fill("000001")
    go_on(page, "Enrol it")
    page.get_by_text("That was not right").wait_for()
    inspect("confirm card refused")
    page.get_by_label("First code").fill(hotp(seed, 0, 6))
    page.get_by_label("Second code").fill(hotp(seed, 1, 6))
    go_on(page, "Enrol it")
    page.get_by_text("It works").wait_for()

    for number, (kind, address) in enumerate(
        (("sms", "+4740000089"), ("email", "ann@elsewhere.example")), start=1
    ):
        page.goto(f"/p/default/enrol/{kind}")
        page.locator("#address").fill(address)
        go_on(page)
        page.get_by_text("is on its way").wait_for()
        inspect(f"confirm {kind}")
        page.get_by_role("link", name="Nothing has come?").click()
        page.get_by_role("status").wait_for()
        inspect(f"what became of the {kind}")
        page.get_by_label("Code").fill(portal.code(number))
        go_on(page, "Enrol it")
        page.get_by_text("It works").wait_for()

    page.goto("/p/default/enrol/totp")
    go_on(page)
    page.get_by_text("I cannot scan it").click()
    inspect("confirm totp")
    totp = pyotp.TOTP(page.locator(".secret").inner_text())
    page.get_by_label("Code").fill(totp.at(int(portal.clock())))
    go_on(page, "Enrol it")
    page.get_by_text("It works").wait_for()
    return totp


def test_pages_of_everybody(page, portal, settings, clock, container_class, inspect):
    """Signing in, recovery, each method, one's own account."""
    seed = register_card(portal, container_class)
    page.goto("/p/default/sign-in")
    inspect("sign in")
    page.get_by_label("Login name").fill("ann")
    page.get_by_label("Password").fill("wrong")
    go_on(page)
    page.get_by_text("name or the password is wrong").wait_for()
    inspect("sign in refused")
    page.goto("/p/nowhere/sign-in")
    inspect("error")
    page.goto("/p/default/recover/help")
    inspect("recover with a code")
    first_password(page, "ann", make(settings, clock, "ann"))
    inspect("password set")
    sign_in(page, "ann")
    page.get_by_role("heading", name="My account").wait_for()
    inspect("home without a method")
    key = virtual_key(page, touched=False)
    totp = enrol_everything(page, portal, seed, key, inspect)
    inspect("home")

    for name in ("password", "address"):
        page.goto(f"/p/default/{name}")
        inspect(name)
    page.get_by_label("E-mail address").fill("a@b")
    go_on(page, "Change it")
    page.get_by_text("not an e-mail address").wait_for()
    inspect("address refused")
    page.goto("/p/default/")
    page.get_by_role("link", name="Give back").click()
    inspect("give a card back")
    clock.advance(FRESH_S)
    page.goto("/p/default/password")
    page.get_by_role("heading", name="How do you want").wait_for()
    inspect("prove again")
    page.get_by_role("link", name="Authenticator app").click()
    inspect("prove again by totp")

    sign_out(page)
    sign_in(page, "ann")
    page.get_by_role("heading", name="How do you want").wait_for()
    inspect("choose")
    page.get_by_role("link", name="Card A1").click()
    page.get_by_label("Code", exact=True).fill(hotp(seed, 50, 6))
    go_on(page, "Sign in")
    page.get_by_text("drifted").wait_for()
    inspect("second by card refused")
    for name in ("+47•••89", "a•••@elsewhere.example"):
        page.goto("/p/default/second")
        kind = "sms" if name.startswith("+") else "email"
        page.locator(f"form[action*='/second/{kind}/'] button").click()
        page.get_by_text(name).wait_for()
        inspect(f"second by {kind}")
    touched(key, at_once=False)
    page.goto("/p/default/second")
    page.get_by_role("button", name="Fingerprint reader").click()
    page.get_by_role("heading", name="Fingerprint reader").wait_for()
    inspect("second by webauthn")
    page.goto("/p/default/second")
    page.get_by_role("link", name="Authenticator app").click()
    inspect("second by totp")
    page.get_by_label("Code").fill(totp.at(int(clock())))
    go_on(page, "Sign in")
    page.get_by_role("heading", name="My account").wait_for()
    page.goto("/p/default/oidc/end-session")
    page.get_by_role("heading", name="Sign out?").wait_for()
    inspect("sign out, as a service asks")
    page.get_by_role("link", name="Stay signed in").click()
    page.get_by_role("heading", name="My account").wait_for()

    sign_out(page)
    page.get_by_role("link", name="Forgot your password?").click()
    inspect("recover")
    page.get_by_label("Login name").fill("ann")
    page.get_by_label("Authenticator app").check()
    go_on(page)
    page.get_by_role("heading", name="Prove that it is you").wait_for()
    inspect("recover, prove")
    page.get_by_label("Code").fill("000000")
    go_on(page)
    page.get_by_text("That was not right").wait_for()
    inspect("recover, prove refused")
    clock.advance(30)
    page.get_by_label("Code").fill(totp.at(int(clock())))
    go_on(page)
    page.get_by_role("heading", name="Choose a new password").wait_for()
    inspect("recover, reset")
    page.get_by_label("New password").fill("short")
    page.get_by_label("The same again").fill("short")
    go_on(page, "Set it")
    page.get_by_text("fewer than 8").wait_for()
    inspect("recover, reset refused")
    assert inspect.found == {}
    assert len(inspect.names) == len(set(inspect.names))


def signed_in_by_http(page: Any, browser: Browser) -> None:
    """Carry a session over into Chromium."""
    page.context.add_cookies(
        [
            {"name": cookie.name, "value": cookie.value, "url": browser.origin}
            | {"path": cookie.path, "url": None, "domain": "localhost"}
            for cookie in browser.http.cookies.jar
        ]
    )


def test_pages_of_staff(page, portal, clock, container_class, inspect):
    """People, recovery with the help desk, cards and loans, policy, audit."""
    boss = portal.staff("boss", "administrator")
    aide = portal.staff("aide", "support")
    auditor = portal.staff("eye", "auditor")
    for login in ("ann", "a-rather-long-login-name-of-somebody@subsidiary.example"):
        portal.person(login, email="someone@firm.example")
    seeds = [register_card(portal, container_class, f"100000000{n}") for n in range(3)]
    boss.get("/cards").post("/cards/1000000001/lend", user="ann", code=hotp(seeds[1], 0, 6))
    boss.post("/cards/1000000002/lost")
    person = re.search(r"/people/(\d+)\">ann<", boss.get("/people?q=ann").page.text).group(1)
    signed_in_by_http(page, boss)
    for path in (
        "people",
        f"people/{person}",
        "waiting",
        "cards",
        "policy",
        "audit",
        "cards?q=none",
    ):
        page.goto(f"/p/default/{path}")
        inspect(path)
    page.goto("/p/default/policy")
    page.locator("#time_zone").fill("Mars/Phobos")
    go_on(page, "Put in force")
    page.get_by_text("not a time zone").wait_for()
    assert page.locator("#time_zone").input_value() == "Mars/Phobos"  # nothing is lost
    inspect("policy refused")
    page.goto("/p/default/cards")
    page.get_by_text("Hand out 1000000000").click()
    inspect("hand a card out")
    aide.get(f"/people/{person}").post(f"/people/{person}/help/ask")
    page.goto("/p/default/waiting")
    inspect("a recovery waits")
    page.goto(f"/p/default/people/{person}")
    inspect("agree to a recovery")
    go_on(page, "I agree")
    page.get_by_text("gets the code").wait_for()
    inspect("agreed")
    page.context.clear_cookies()
    signed_in_by_http(page, aide)
    page.goto(f"/p/default/people/{person}")
    go_on(page, "Show the code")
    page.get_by_text("Read this out").wait_for()
    inspect("the code of a recovery")
    page.context.clear_cookies()
    signed_in_by_http(page, auditor)
    page.goto("/p/default/policy")
    inspect("policy of an auditor")
    page.goto("/p/default/people/999999")
    inspect("nobody")
    assert inspect.found == {}


def test_a_form_that_comes_too_late_is_kept(page, portal, clock, inspect):
    portal.person("boss", "administrator")
    browser = Browser(portal.url).sign_in("boss")
    totp = portal.enrol_totp(browser)
    browser.get("/").post("/sign-out")
    signed_in_by_http(page, portal.with_app(browser, "boss", totp))
    page.goto("/p/default/policy")
    page.locator("#display_name").fill('Fisk & "Frakt"')
    clock.advance(FRESH_S)
    go_on(page, "Put in force")
    page.get_by_role("link", name="Authenticator app").click()
    page.get_by_label("Code").fill(totp.at(int(clock())))
    go_on(page)
    page.get_by_text("What you sent before was kept").wait_for()
    inspect("kept form")
    go_on(page, "Do it now")
    page.get_by_role("heading", name="Policy").wait_for()
    assert page.locator("#display_name").input_value() == 'Fisk & "Frakt"'
    assert inspect.found == {}


TRANSLATED_PAGES = (
    "sign-in?again=1", "recover", "recover/help", "", "enrol/totp", "enrol/card", "enrol/webauthn",
    "enrol/sms", "enrol/codes", "prove", "password", "people", "waiting", "cards", "policy",
    "overview", "invitations", "people/import", "behind", "audit", "face", "people/999",
)  # fmt: skip


def test_pages_hold_in_every_language(page, portal, clock, container_class, inspect):
    """At 320 pixels in each, and with axe in the one that needs most room on that page."""
    portal.policy(
        display_name="Nordsjø Fisk & Frakt AS",
        desk_contact="Help desk, room 12, telephone 1234, helpdesk@nordsjoe.example",
        colour="#ffcc00",
        key_alone=True,
        methods=["card", "totp", "sms", "email", "webauthn", "codes"],
    )
    boss = portal.staff("boss", "administrator")
    seeds = [register_card(portal, container_class, f"100000000{n}") for n in range(2)]
    portal.person("a-rather-long-login-name-of-somebody@subsidiary.example", email="x@y.example")
    boss.get("/cards").post("/cards/1000000000/lend", user="boss", code=hotp(seeds[0], 0, 6))
    with opened(portal.settings) as parts, parts.database.write() as connection:
        logo = faces.read_logo(picture())
        faces.set_logo(connection, parts.ring, 1, logo, now=clock(), actor="test")
    signed_in_by_http(page, boss)
    wide: dict[str, list[int]] = {}
    for path in TRANSLATED_PAGES:
        longest, most = "", 0
        for language in ("de", "fr", "es"):
            speak(page, language)
            page.set_viewport_size(PHONE)
            page.goto(f"/p/default/{path}")
            assert page.locator("html").get_attribute("lang") == language
            size, seen, length = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth,"
                " document.body.innerText.length]"
            )
            if size > seen:
                wide[f"{path} {language}"] = [size, seen]
            if length > most:
                longest, most = language, length
        page.set_viewport_size(DESK)
        speak(page, longest)
        page.goto(f"/p/default/{path}")
        inspect(f"{path.partition('?')[0] or 'home'} in {longest}")
    assert wide == {} and inspect.found == {}


def speak(page: Any, language: str) -> None:
    """As its foot does."""
    at = {"domain": "localhost", "path": "/p/default"}
    page.context.add_cookies([{"name": "tally_language", "value": language} | at])


def in_a_field(page: Any) -> None:
    """Wait until the page has put the focus where typing begins: it does so once it is drawn."""
    page.locator("input:focus").wait_for()


class Reader:
    """What a screen reader is given: Chromium's accessibility tree."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.devtools = page.context.new_cdp_session(page)
        self.devtools.send("Accessibility.enable")

    def lines(self) -> list[str]:
        """Each node as `role "name" state…`, in reading order."""
        nodes = self.devtools.send("Accessibility.getFullAXTree")["nodes"]
        by_id = {node["nodeId"]: node for node in nodes}

        def walk(node: dict[str, Any]) -> Iterator[str]:
            yield self._line(node)
            for child in node.get("childIds", []):
                if child in by_id:
                    yield from walk(by_id[child])

        return [line for line in walk(nodes[0]) if line]

    def focused(self) -> str:
        """Nothing while a page gives way to the next."""
        found = [line for line in self.lines() if " focused" in line and "RootWeb" not in line]
        assert len(found) <= 1
        return "".join(found).replace(" focused", "")

    def _line(self, node: dict[str, Any]) -> str:
        if node.get("ignored"):
            return ""
        role, name = node["role"]["value"], node.get("name", {}).get("value", "")
        if role == "form" and not name:
            return ""
        if role in ("none", "generic", "StaticText", "InlineTextBox", "paragraph", "LabelText"):
            return ""
        states = [
            f"{one['name']}={value}" if not isinstance(value, bool) else one["name"]
            for one in node.get("properties", [])
            if one["name"] in ("focused", "required", "live", "expanded", "level", "checked")
            and (value := one["value"].get("value")) not in (False, "false", "off")
        ]
        described = node.get("description", {}).get("value")
        about = f" ({described})" if described else ""
        return " ".join([role, f'"{name}"', *states]) + about


def test_what_a_screen_reader_is_told(page, portal, inspect):
    """Names, roles, states and the order of things on the pages that everybody meets."""
    reader = Reader(page)
    page.goto("/p/default/sign-in")
    in_a_field(page)
    assert reader.lines() == [
        'RootWebArea "Sign in – default" focused',
        'link "Skip to the content"',
        'banner ""',
        'link "default"',
        'main ""',
        'heading "Sign in" level=1',
        'textbox "Login name or e-mail address" focused required',
        'textbox "Password" required',
        'button "Go on"',
        'link "Forgot your password?"',
        'contentinfo ""',
        'form "Language"',
        'button "English"',
        'button "Deutsch"',
        'button "Français"',
        'button "Español"',
    ]
    page.get_by_label("Login name").fill("ann")
    page.get_by_label("Password").fill("wrong")
    go_on(page)
    page.get_by_text("name or the password is wrong").wait_for()
    in_a_field(page)
    lines = reader.lines()
    assert lines[0] == 'RootWebArea "Problem: Sign in – default" focused'
    assert 'alert "" live=assertive' in lines
    # The focus is where the next try is typed, and the problem is read with it.
    (field,) = [line for line in lines if " focused" in line and line.startswith("textbox")]
    assert field.startswith(
        'textbox "Password" focused required (The name or the password is wrong.'
    )

    boss = portal.staff("boss", "administrator")
    signed_in_by_http(page, boss)
    page.goto("/p/default/")
    lines = reader.lines()
    assert 'navigation "Pages"' in lines
    assert 'region "Ways to sign in"' in lines
    levels = [int(line[-1]) for line in lines if line.startswith("heading")]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert 'link "Remove Phone"' in lines
    assert [line for line in lines if line.startswith("DisclosureTriangle")] == [
        'DisclosureTriangle "Rename Phone"'
    ]
    current = page.locator("nav a[aria-current=page]").all_inner_texts()
    assert current == ["My account"]
    named = [line for line in lines if line.startswith(("button", "link", "textbox"))]
    assert all('""' not in line for line in named)
    page.goto("/p/default/enrol/sms")
    in_a_field(page)
    assert any(
        line.startswith('textbox "Mobile number" focused required (With the country code')
        for line in reader.lines()
    )
    page.goto("/p/default/cards")
    assert 'search ""' in reader.lines()


def test_the_order_of_the_focus_is_the_order_of_reading(page, portal):
    boss = portal.staff("boss", "administrator")
    signed_in_by_http(page, boss)
    reader = Reader(page)
    page.goto("/p/default/")
    read = [
        line
        for line in reader.lines()
        if line.startswith(("link", "button", "textbox", "DisclosureTriangle"))
    ]
    visited = []
    for _ in read:
        page.keyboard.press("Tab")
        visited.append(reader.focused())
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring == "solid", visited[-1]
    assert visited == read
    assert visited[0] == 'link "Skip to the content"'
    page.goto("/p/default/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


class Keyboard:
    """Somebody without a mouse."""

    def __init__(self, page: Any) -> None:
        self.page, self.reader = page, Reader(page)

    def to(self, name: str) -> None:
        """Tab on until the thing of this name has the focus."""
        for _ in range(60):
            self.page.keyboard.press("Tab")
            if f'"{name}"' in self.reader.focused():
                return
        raise AssertionError(f"{name} cannot be reached")

    def press(self, name: str) -> None:
        self.to(name)
        self.page.keyboard.press("Enter")


def test_the_keyboard_alone(page, portal, clock):
    """First sign-in, enrolment, sign-out, sign-in with the second factor, removal."""
    portal.person("ann")
    keyboard = Keyboard(page)

    def heading(name: str) -> None:
        page.get_by_role("heading", name=name, exact=True).wait_for()

    def with_password() -> None:
        heading("Sign in")
        in_a_field(page)
        page.keyboard.type("ann")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")

    page.goto("/p/default/sign-in")
    with_password()
    heading("My account")
    keyboard.press("Authenticator app")
    heading("Add: Authenticator app")
    keyboard.press("Settings of the code")
    keyboard.to("SHA-1: every app knows it")
    page.keyboard.press("ArrowDown")
    keyboard.press("Go on")
    page.get_by_text("Scan this").wait_for()
    in_a_field(page)
    page.keyboard.press("Shift+Tab")  # the code has the focus; the secret is before it
    page.keyboard.press("Enter")
    import hashlib

    totp = pyotp.TOTP(page.locator(".secret").inner_text(), digest=hashlib.sha256)
    page.keyboard.press("Tab")
    page.keyboard.type(totp.at(int(clock())))
    page.keyboard.press("Enter")
    page.get_by_text("It works, and is enrolled.").wait_for()
    keyboard.press("Sign out")
    with_password()
    heading("How do you want to prove that it is you?")
    clock.advance(30)
    keyboard.press("Authenticator app Type the code that your authenticator app shows.")
    heading("Authenticator app")
    in_a_field(page)
    page.keyboard.type(totp.at(int(clock())))
    page.keyboard.press("Enter")
    heading("My account")
    keyboard.press("Rename Authenticator app")
    keyboard.to("New name of Authenticator app")
    page.keyboard.press("Control+a")
    page.keyboard.type("Telephone")
    page.keyboard.press("Enter")
    page.get_by_text("Telephone").first.wait_for()
    keyboard.press("Remove Telephone")
    heading("Remove: Telephone")
    keyboard.press("Remove it")
    page.get_by_text("Your firm asks for 1 at least.").wait_for()


def test_pages_about_many_people(page, portal, clock, container_class, inspect):
    """A list in, invitations, who is behind, the overview; the first page of a new person."""
    register_card(portal, container_class)
    portal.policy(remember_device_days=30, methods=list(MethodKind), reminder_days=7)
    boss = portal.staff("boss", "administrator")
    lines = ["login,name,email"]
    for number in range(60):
        name = f"user{number:02}"
        lines.append(f"{name},Person {number},{f'{name}@example.org' if number % 3 else ''}")
    send(boss, "\n".join(lines), now="yes")
    boss.get("/invitations").post("/invitations", by="mail")
    signed_in_by_http(page, boss)
    for name, path in (
        ("people by pages", "people?sort=name&down=yes"),
        ("people nobody", "people?q=nothing"),
        ("invitations", "invitations"),
        ("behind", "behind"),
        ("overview", "overview"),
        ("import", "people/import"),
        ("cards overdue", "cards?where=overdue"),
        ("home of staff", ""),
    ):
        page.goto(f"/p/default/{path}")
        inspect(name)
    page.goto("/p/default/people/import")
    for content, name in (
        ("login,email\nann,\nuser01,other@example.org\n", "import planned"),
        ("login,email\nann,wrong\n,\n", "import refused"),
    ):
        page.locator("#file-field").set_input_files(
            {"name": "p.csv", "mimeType": "text/csv", "buffer": content.encode()}
        )
        page.get_by_role("button", name="Show what would be done").click()
        inspect(name)
    page.goto("/p/default/people?q=user00")
    page.get_by_label("Choose user00").check()
    for summary in page.locator("summary").all():
        summary.click()
    inspect("acts on many people")
    # Enter in a field presses none of the acts, of which the first mails an invitation.
    page.get_by_label("How many are ticked").fill("2")
    page.keyboard.press("Enter")
    assert page.locator("[role=status], [role=alert]").count() == 0
    page.get_by_role("button", name="They leave: take everything away").click()
    page.get_by_text("another number was typed").wait_for()
    page.goto("/p/default/cards?sort=end&down=yes")
    for summary in page.locator("summary").all():
        summary.click()
    inspect("acts on many cards")
    page.goto("/p/default/people?q=user00")
    page.get_by_role("link", name="user00").click()
    for summary in page.locator("summary").all():
        summary.click()
    inspect("person all open")
    page.get_by_role("button", name="Print a letter").click()
    inspect("letter")
    link = re.search(r"(/p/default/welcome/\S+)", portal.messages(1)[0]["text"]).group(1)
    page.context.clear_cookies()
    page.goto(link)
    inspect("welcome")
    page.locator("#password").press_sequentially("short")
    page.get_by_text("3 more").wait_for()
    page.get_by_label("Show what I type").check()
    assert page.locator("#password").get_attribute("type") == "text"
    page.locator("#password").fill("correct horse battery")
    page.get_by_text("Good", exact=True).wait_for()
    page.locator("#again").fill("another")
    go_on(page)
    page.get_by_text("not the same").wait_for()
    inspect("welcome mistyped")
    for field in ("#password", "#again"):
        page.locator(field).fill(PASSWORD)
    go_on(page)
    inspect("first day")
    for kind in ("totp", "card", "webauthn", "codes"):
        page.goto(f"/p/default/enrol/{kind}")
        inspect(f"first day {kind}")
    page.goto("/p/default/enrol/totp")
    go_on(page)
    inspect("first day totp code")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "acme", now=0, actor="test")
    page.context.clear_cookies()
    page.goto("/?firm=nobody")
    inspect("front")
    assert inspect.found == {}
