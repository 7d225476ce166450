"""The server's portal in a real Chromium with the emulated reader: from the thumb's enrolment to a
session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.chromium import first_password, make, sign_in, sign_out
from tests.system.reader.emulated import ON_DISK, TIMEOUT_S, EmulatedReader

pytestmark = [
    pytest.mark.slow,
    needs.chromium.mark,
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_from(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "server.keys")
    with opened(made):
        return made


@pytest.fixture
def page(
    settings: Settings, reader_in_service: EmulatedReader, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Page]:
    monkeypatch.setenv("TMPDIR", ON_DISK)  # where playwright makes the profile
    with running_in_thread(settings) as url, sync_playwright() as driver:
        browser = needs.launch(driver, env=reader_in_service.environment)
        page = browser.new_context(base_url=url.replace("127.0.0.1", "localhost")).new_page()
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def test_from_enrolment_to_a_session_and_no_further_with_a_wrong_finger(
    page: Page, settings: Settings, reader_in_service: EmulatedReader
) -> None:
    first_password(page, "ann", make(settings, time.time, "ann"))
    sign_in(page, "ann")
    page.get_by_role("heading", name="My account").wait_for()
    page.get_by_role("link", name="Fingerprint reader or security key").click()
    page.get_by_label("Name for it").fill("My reader")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("It works, and is enrolled.").wait_for()

    sign_out(page)
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    page.get_by_role("heading", name="My account").wait_for()

    sign_out(page)
    reader_in_service.finger = {"finger": "left-index", "person": 7}
    before = reader_in_service.presses
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    # After five wrong tries the reader takes no finger any more, and the browser asks for the PIN.
    deadline = time.monotonic() + TIMEOUT_S
    presses, quiet_since = reader_in_service.presses, time.monotonic()
    while presses - before < 5 or time.monotonic() - quiet_since < 4:
        assert time.monotonic() < deadline
        if reader_in_service.presses != presses:
            presses, quiet_since = reader_in_service.presses, time.monotonic()
        time.sleep(0.1)
    assert page.get_by_role("heading", name="My account").count() == 0
    page.goto("/p/default/")
    assert page.get_by_role("heading", name="My account").count() == 0
