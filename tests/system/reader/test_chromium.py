"""The server's portal in a real Chromium with the emulated reader: from the thumb's enrolment to a
session.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store.opened import opened
from tests.server.chromium import first_password, make, sign_in, sign_out
from tests.system.reader.emulated import EmulatedReader

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_from(f"sqlite:///{tmp_path / 'server.db'}")
    with opened(made):
        return made


@pytest.fixture
def page(settings: Settings, in_service: EmulatedReader) -> Iterator[playwright.Page]:
    with running_in_thread(settings) as url, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], env=in_service.environment
        )
        page = browser.new_context(base_url=url.replace("127.0.0.1", "localhost")).new_page()
        page.set_default_timeout(20_000)
        yield page
        browser.close()


def test_from_enrolment_to_a_session_and_no_further_with_a_wrong_finger(
    page: playwright.Page, settings: Settings, in_service: EmulatedReader
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
    in_service.finger = {"finger": "left-index", "person": 7}
    before = in_service.presses
    sign_in(page, "ann")
    page.get_by_role("button", name="My reader").click()
    # After five wrong tries the reader takes no finger any more, and the browser asks for the PIN.
    deadline = time.monotonic() + 40
    presses, quiet_since = in_service.presses, time.monotonic()
    while time.monotonic() - quiet_since < 4:
        assert time.monotonic() < deadline
        if in_service.presses != presses:
            presses, quiet_since = in_service.presses, time.monotonic()
        time.sleep(0.1)
    assert in_service.presses - before >= 5
    assert page.get_by_role("heading", name="My account").count() == 0
    page.goto("/p/default/")
    assert page.get_by_role("heading", name="My account").count() == 0
