"""The reader as a device of this computer, through the kernel's /dev/uhid, with libfido2's tool."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests import needs

_TALLY = Path(sys.executable).with_name("tally")
_COMMAND = [str(_TALLY), "emulate", "reader", "--usb", "--control", "0", "--json"]


@needs.uhid.mark
@needs.fido2_tools.mark
def test_every_program_finds_it() -> None:
    with subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            text = ""
            while not text.endswith("}\n"):
                text += process.stdout.readline()
            assert json.loads(text)["control"]
            assert "vendor=0x1209, product=0x0001" in _listed()
        finally:
            process.send_signal(signal.SIGINT)


def _listed() -> str:
    """What libfido2 finds, as soon as it finds something."""
    found = ""
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        command = ["fido2-token", "-L"]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return found


@needs.no_uhid.mark
def test_without_it_a_person_is_told_what_to_do() -> None:
    result = subprocess.run(_COMMAND, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "--usb -- CMD" in result.stdout + result.stderr
