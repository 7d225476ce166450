"""The server's portal in a real Firefox, as Debian has it, with the emulated reader: Firefox speaks
to /dev/hidraw0 with a library of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tallystick.server.serving.running import running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.chromium import PASSWORD, make
from tests.system.reader.emulated import ON_DISK, TIMEOUT_S, EmulatedReader
from tests.system.reader.firefox import ENTER, Firefox, firefox

pytestmark = [pytest.mark.slow, needs.firefox.mark]


@pytest.fixture
def page(reader_in_service: EmulatedReader, tmp_path: Path) -> Iterator[Firefox]:
    """With ann's own first page open."""
    settings = settings_from(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "server.keys")
    with opened(settings):
        code = make(settings, time.time, "ann")
    with running_in_thread(settings) as url, TemporaryDirectory(dir=ON_DISK) as folder:
        base = url.replace("127.0.0.1", "localhost")
        with firefox(Path(folder), base, reader_in_service.environment) as page:
            page.go("/p/default/recover/help")
            page.fill("Login name", "ann")
            page.fill("Code", f"{code}{ENTER}")
            page.fill("New password", PASSWORD)
            page.fill("The same again", f"{PASSWORD}{ENTER}")
            page.wait_for("new password is set")
            _sign_in(page)
            page.wait_for("My account")
            yield page


def _sign_in(page: Firefox) -> None:
    page.go("/p/default/sign-in")
    page.fill("Login name", "ann")
    page.fill("Password", f"{PASSWORD}{ENTER}")


def _sign_out(page: Firefox) -> None:
    page.press("Sign out")
    page.wait_for("Login name")


def _enrol(page: Firefox, *, allow: bool) -> None:
    """allow: Firefox may tell the portal which kind of reader it is."""
    page.press("Fingerprint reader or security key")
    page.fill("Name for it", "My reader")
    page.press("Go on")
    page.answer("register-direct", allow=allow)


def test_from_enrolment_to_a_session_and_no_further_with_a_wrong_finger(
    page: Firefox, reader_in_service: EmulatedReader
) -> None:
    reader = reader_in_service
    _enrol(page, allow=True)
    page.wait_for("It works, and is enrolled.")

    _sign_out(page)
    _sign_in(page)
    page.press("My reader")
    page.wait_for("My account")

    _sign_out(page)
    reader.finger = {"finger": "left-index", "person": 7}
    before = reader.presses
    _sign_in(page)
    page.press("My reader")
    # After five wrong tries the reader takes no finger any more, and Firefox asks for the PIN.
    deadline = time.monotonic() + TIMEOUT_S
    while reader.presses - before < 5:
        assert time.monotonic() < deadline, reader.presses - before
        time.sleep(0.1)
    assert not page.has("My account")
    page.go("/p/default/")
    assert not page.has("My account")


def test_a_reader_that_firefox_says_nothing_of(page: Firefox) -> None:
    _enrol(page, allow=False)
    page.wait_for("It works, and is enrolled.")
