"""`tally update` as a person runs it: a reader on USB, a touch when its light flashes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tallystick import __version__
from tallystick.tools.image.build import build, write
from tests.system.reader.emulated import DEVICE, PIN, EmulatedReader

pytestmark = pytest.mark.slow
_TALLY = Path(sys.executable).with_name("tally")


def test_a_reader_is_updated_over_usb_and_logs_in_as_before(
    reader_in_service: EmulatedReader, tmp_path: Path
) -> None:
    """However long it has been plugged in: its PIN is at hand."""
    write(build("reader", "pico2", "200.1.0", security=4), tmp_path / "image")
    (tmp_path / "pin").write_text(PIN + "\n")
    reader = reader_in_service
    told = reader.run(
        str(_TALLY), "update", str(tmp_path / "image"), "--development", "--usb", DEVICE,
        "--pin-file", str(tmp_path / "pin"), "--json",
    )  # fmt: skip
    assert json.loads(told) == {"from": __version__, "to": "200.1.0", "slot": 1, "floor": 4}
    assert f"fwversion: 0x{0xC80100:x}" in reader.run("fido2-token", "-I", DEVICE)
    fingers = reader.run_on_terminal("fido2-token", "-L", "-e", DEVICE, answers={"PIN": PIN})
    assert "00:" in fingers
