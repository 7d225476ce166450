"""Firmware that never touches hardware cannot see that its host has gone: it ends all the same."""

import os
import subprocess
import sys
from pathlib import Path

from tests.emulator.processes import descendants, ended

_HOST = """
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.tools.image import filesystem

board = boards.find("pico")
main = b"import machine\\nmachine.freq()\\nwhile True: pass\\n"
content = filesystem.pack(
    {"main.py": main}, board, room=board.storage.size, what="test"
)
card = Card(Image(board, ((board.storage.address, content),)))
print("looping", flush=True)
card.power_on()
"""


def _busy(pid: int) -> bool:
    """True once a process has used a tenth of a second of processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) >= os.sysconf("SC_CLK_TCK") // 10


def test_firmware_that_loops_ends_with_its_host() -> None:
    with subprocess.Popen([sys.executable, "-c", _HOST], stdout=subprocess.PIPE) as host:
        assert host.stdout is not None and host.stdout.readline() == b"looping\n"
        family: set[int] = set()
        while not any(_busy(pid) for pid in family) or len(family) < 3:
            family = descendants(host.pid)  # fork server, mother, chip
        host.kill()
        host.wait(60)
        assert all(ended(pid) for pid in family)
