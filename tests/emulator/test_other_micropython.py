"""The same firmware on another MicroPython: $TALLY_MICROPYTHON, and what happens without one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from tallystick.emulator.interpreter import micropython
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise

# A program of its own, started anew at every power-on, as a distribution's micropython is.
WRAPPER = f"""#!/bin/sh
exec {sys.executable} -c \
'import sys, micropython_run; sys.exit(micropython_run.run_main(sys.argv))' "$@"
"""

TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]


@pytest.fixture
def other(tmp_path, monkeypatch):
    program = os.environ.get(micropython.ENVIRONMENT)
    if not program:
        path = tmp_path / "micropython"
        path.write_text(WRAPPER)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        program = str(path)
    monkeypatch.setenv(micropython.ENVIRONMENT, program)


def _two_presses():
    with card("nucleo_l476rg") as device:
        device.power_on()
        personalise(device)
        seen = []
        for _ in range(2):
            device.press()
            seen.append((device.read_code(), device.clock.now, device.frame().sha256()))
            device.run_for(60_000)
        journal = device.board.journal
        return seen, device.flash.memory[journal.address : journal.end]


def test_both_give_the_same_codes_pixels_times_and_flash(request):
    ours = _two_presses()
    request.getfixturevalue("other")
    theirs = _two_presses()
    assert ours == theirs
    assert [code for code, _, _ in ours[0]] == ["755224", "287082"]


@pytest.mark.parametrize(
    ("named", "words"), [("/nonexistent", "is not a program"), ("/bin/true", "without a word")]
)
def test_a_wrong_program_is_a_clear_error(named, words):
    done = subprocess.run(
        [*TALLY, "emulate", "card", "--pty"],
        env={**os.environ, micropython.ENVIRONMENT: named},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
