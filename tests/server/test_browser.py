"""The portal in a real Chromium: WebAuthn with its virtual authenticator."""

from __future__ import annotations

import pytest

from tallystick.server.accounts import factors
from tallystick.server.signing_in.stepup import FRESH_S
from tallystick.server.store.opened import opened
from tests.server.chromium import first_password, make, sign_in, sign_out, virtual_key

pytestmark = pytest.mark.slow


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
    # What the authenticator says of itself is recorded.
    with opened(settings) as parts, parts.database.read() as connection:
        (factor,) = factors.of_person(connection, 1)
    assert factor.facts["attestation"] == "packed"
    assert len(factor.facts["aaguid"]) == 36 and factor.facts["backed_up"] is False

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

    # Named, used, and removed with a proof that is fresh.
    page.get_by_text("Rename My reader").click()
    page.get_by_label("New name of My reader").fill("The blue one")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("The blue one").first.wait_for()
    assert (
        "last used Fri 15 Jan 2027 08:0" in page.locator("li", has_text="The blue one").inner_text()
    )
    clock.advance(FRESH_S)
    page.get_by_role("link", name="Remove The blue one").click()
    page.get_by_role("button", name="The blue one").click()
    page.get_by_role("heading", name="Remove: The blue one").wait_for()
    page.get_by_role("link", name="Keep it").click()

    # A second enrolment of the same key is refused by the browser (excludeCredentials).
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("enrolled already").wait_for()

    page.get_by_role("link", name="Start again").click()
    page.get_by_role("link", name="Back").click()
    page.get_by_role("link", name="Remove The blue one").click()
    page.get_by_role("button", name="Remove it").click()
    page.get_by_text("Your firm asks for 1 at least.").wait_for()
