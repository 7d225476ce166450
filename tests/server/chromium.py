"""A real Chromium, and what tests do with it in the portal."""

from __future__ import annotations

from typing import Any

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.signing_in import recovery
from tallystick.server.store.opened import opened

PASSWORD = "correct horse battery"


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
    for label in ("New password", "The same again"):
        page.get_by_label(label).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_text("new password is set").wait_for()


def sign_in(page, login: str) -> None:
    page.goto("/p/default/sign-in")
    page.get_by_role("heading", name="Sign in", exact=True).wait_for()
    page.locator("#login:focus").wait_for()  # it has the focus once the page is drawn
    page.keyboard.type(login)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")


def sign_out(page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in", exact=True).wait_for()


def virtual_key(page: Any, *, touched: bool = True) -> tuple[Any, str]:
    """A CTAP2 authenticator with a fingerprint that is presented, or waited for."""
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
                "isUserVerified": True,
                "automaticPresenceSimulation": touched,
            }
        },
    )
    return devtools, answer["authenticatorId"]
