"""The faults alone, under stores that are not ours."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
from tallystick.faults.flash import FaultyFlash, PowerLostError
from tallystick.faults.search import Case, case, search
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.stores.little import LittleStore


class Pair:
    """Two words that change together. `careful`: by a second copy that a mark makes the newer."""

    def __init__(self, careful: bool) -> None:
        self.careful = careful

    def flash(self) -> FaultyFlash:
        flash = FaultyFlash(2048, 1024, 8)
        flash.program(0, b"old-old-" + bytes(8))
        return flash

    def work(self, flash: FaultyFlash) -> None:
        if self.careful:
            flash.program(1024, b"new-new-")
            flash.program(1032, bytes(8))
        else:
            flash.erase(0)
            flash.program(0, b"new-new-" + bytes(8))

    def recover(self, flash: FaultyFlash) -> str:
        newer = flash.memory[1032:1040] == bytes(8)
        at = 1024 if newer else 0
        word = bytes(flash.memory[at : at + 8])
        return "" if word in (b"old-old-", b"new-new-") else f"it holds {word!r}"


def test_a_store_that_takes_care_is_not_accused() -> None:
    cases = list(search(Pair(careful=True), "baps"))
    assert len(cases) > 10
    assert not [one for one in cases if one.broken]


def test_a_store_that_does_not_is_found_out_and_the_line_says_how() -> None:
    broken = [one for one in search(Pair(careful=False), "bapst") if one.broken]
    assert broken
    for one in broken:
        assert case(Pair(careful=False), tuple(one.line.split("/"))) == one


def test_weak_bits_waver_until_they_are_programmed_or_erased() -> None:
    flash = FaultyFlash(2048, 1024, 8)
    flash.plan = lambda _number, _change: "no"
    with pytest.raises(PowerLostError):
        flash.program(8, bytes(8))
    assert flash.memory[8:16] == b"\xff" * 8, "they read as ones at first"
    flash.plan = lambda _number, _change: None
    seen = set()
    for seed in range(8):
        flash.power_up(random.Random(seed))
        seen.add(bytes(flash.memory[8:16]))
    assert len(seen) > 4
    flash.program(8, bytes(8))
    assert not flash.weak


def test_a_worn_sector_takes_nothing_more() -> None:
    flash = FaultyFlash(2048, 1024, 8)
    flash.plan = lambda number, _change: "f" if number == 0 else None
    assert not flash.program(0, bytes(8))
    assert not flash.program(8, bytes(8))
    assert not flash.erase(0)
    assert flash.program(1024, bytes(8))


def test_it_needs_nothing_else_of_ours() -> None:
    code = (
        "import sys, tallystick.faults.search, tallystick.faults.flash; "
        "print([one for one in sys.modules if one.startswith('tallystick.') "
        "and not one.startswith('tallystick.faults')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_littlefs_keeps_what_it_promises_under_clean_cuts() -> None:
    cases = list(search(LittleStore(), "ba"))
    assert len(cases) > 50
    assert not [one for one in cases if one.broken]


def test_a_line_of_the_table_is_replayed() -> None:
    shown = CliRunner().invoke(campaign, ["stores", "--only", "12p16/1b", "--json"])
    assert shown.exit_code == ExitCode.OK, shown.output
    assert json.loads(shown.stdout)["line"] == "12p16/1b"
    for wrong in ("12q1", "p16", "9999b", ""):
        shown = CliRunner().invoke(campaign, ["stores", "--only", wrong])
        assert isinstance(shown.exception, BadInputError), wrong


def test_ctrl_c_inside_the_store_ends_it_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised in a block device's call is lost in littlefs's C code."""
    erase, cases, handler = FaultyFlash.erase, [], signal.getsignal(signal.SIGINT)

    def interrupted(flash: FaultyFlash, sector: int) -> bool:
        if len(cases) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return erase(flash, sector)

    def counted(*args: object) -> Iterator[Case]:
        for one in search(*args):  # type: ignore[arg-type]
            cases.append(one)
            yield one

    monkeypatch.setattr(FaultyFlash, "erase", interrupted)
    monkeypatch.setattr("tallystick.tools.campaign.commands.stores.search", counted)
    done = CliRunner().invoke(campaign, ["stores"])
    assert done.exit_code == 1 and "put" not in done.output  # click's own: Aborted!
    assert len(cases) < 30
    assert signal.getsignal(signal.SIGINT) is handler
