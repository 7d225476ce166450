"""A reader that the station made ready: its holder changes the PIN with a client as it is shipped,
and signs in at the portal. The reader is a USB device, the server a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
import pytest
from playwright.sync_api import sync_playwright

from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import Settings, settings_from
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.chromium import first_password, make, sign_in
from tests.system.reader.emulated import DEVICE, ON_DISK, EmulatedReader

pytestmark = pytest.mark.slow
PASSPHRASE = "correct horse battery staple"
HERS = "only-hers-77"
# What any program does with python-fido2: change the PIN of the key that is plugged in.
CHANGE = """
import sys
from fido2.ctap2 import ClientPin, Ctap2
from fido2.hid import CtapHidDevice
(device,) = CtapHidDevice.list_devices()
ClientPin(Ctap2(device)).change_pin(*sys.argv[1:])
"""
FINGER_BEFORE = """
from fido2.ctap2 import ClientPin, Ctap2
from fido2.ctap import CtapError
from fido2.hid import CtapHidDevice
import sys
(device,) = CtapHidDevice.list_devices()
ctap = Ctap2(device)
assert ctap.info.force_pin_change and ctap.info.min_pin_length == 8
try:
    ClientPin(ctap).get_pin_token(sys.argv[1], ClientPin.PERMISSION.GET_ASSERTION, "localhost")
except CtapError as error:
    print(error.code.name)
"""


class Bench:
    """The station's command line, where it finds the reader as /dev/hidraw0."""

    def __init__(self, reader: EmulatedReader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        self.environment = {
            **reader.environment, "TALLY_STATION_PASSPHRASE": PASSPHRASE,
            "TALLY_STATION_KEYS": str(folder / "keys.json"),
            "TALLY_STATION_JOURNAL": str(folder / "journal.db"),
        }  # fmt: skip

    def run(self, *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tallystick.cli", "station", *words], input=data,
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def python(self, program: str, *words: str) -> str:
        return self.reader.run(sys.executable, "-c", program, *words)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_from(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "server.keys")
    with opened(made):
        return made


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    with running_in_thread(settings) as url:
        yield url


@pytest.fixture
def bench(reader: EmulatedReader, settings: Settings, server: str, tmp_path: Path) -> Bench:
    made = Bench(reader, tmp_path)
    assert made.run("keys", "create", "--development").returncode == 0
    credential = add_credential(settings, "station", "bench")
    value = {
        "id": credential.id, "role": "station", "token": credential.token.reveal().decode(),
        "psk": credential.psk.reveal().hex(),
    }  # fmt: skip
    done = made.run("enroll", "--server", server, "--credential", "-", data=json.dumps(value))
    assert done.returncode == 0, done.stderr
    return made


@needs.chromium.mark
def test_from_the_station_to_the_portal(
    bench: Bench, reader: EmulatedReader, settings: Settings, server: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    code = make(settings, time.time, "ann")
    words = (
        "reader", "--user", "ann", "--min-pin", "8", "--pins", str(tmp_path / "pins.json"),
        "--papers", str(tmp_path / "out"), "--firm", "Firm", "--contact", "Room 3",
    )  # fmt: skip
    misspelt = bench.run("reader", "--user", "anne", "--pins", str(tmp_path / "pins.json"))
    assert misspelt.returncode and "Did you mean ann?" in misspelt.stderr
    done = bench.run(*words, data="TR00000001\n")
    assert done.returncode == 0, done.stderr
    assert "TR00000001 is ready for ann" in done.stderr
    first = json.loads((tmp_path / "pins.json").read_text())["keys"]["TR00000001"]["pin"]
    letter = pypdfium2.PdfDocument(tmp_path / "out" / "first-pins.pdf")
    assert first in letter[0].get_textpage().get_text_range()
    letter.close()

    # It reaches Ann. Until she has changed the PIN, neither it nor a finger opens anything.
    assert "PIN_POLICY_VIOLATION" in bench.python(FINGER_BEFORE, first)
    bench.python(CHANGE, first, HERS)
    reader.run_on_terminal("fido2-token", "-S", "-e", DEVICE, answers={"PIN": HERS})

    monkeypatch.setenv("TMPDIR", ON_DISK)
    with sync_playwright() as driver:
        browser = needs.launch(driver, env=reader.environment)
        page = browser.new_context(base_url=server.replace("127.0.0.1", "localhost")).new_page()
        page.set_default_timeout(60_000)
        first_password(page, "ann", code)
        before = reader.presses
        sign_in(page, "ann")
        page.get_by_role("button", name="Key TR00000001").click()
        page.get_by_role("heading", name="My account").wait_for()
        assert reader.presses > before
        browser.close()


def test_killed_and_begun_again(bench: Bench, settings: Settings, tmp_path: Path) -> None:
    """kill -9 while it waits for the finger; the same command finishes the same reader."""
    make(settings, time.time, "ann")
    words = ("reader", "--user", "ann", "--pins", str(tmp_path / "pins.json"))
    bench.reader.attended = False
    process = subprocess.Popen(
        [sys.executable, "-m", "tallystick.cli", "station", *words], env=bench.environment,
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin and process.stderr
    process.stdin.write("TR00000001\n")
    process.stdin.flush()
    for line in process.stderr:
        if "lay a finger" in line:
            break
    process.kill()
    process.wait(60)
    process.stdin.close()
    process.stderr.close()
    first = json.loads((tmp_path / "pins.json").read_text())["keys"]["TR00000001"]["pin"]
    bench.reader.attended = True
    bench.reader.power(on=False)
    bench.reader.power(on=True)
    done = bench.run(*words, data="TR00000001\n")
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "pins.json").read_text())["keys"]["TR00000001"]["pin"]
    assert again == first
    bench.python(CHANGE, first, HERS)
