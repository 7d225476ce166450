"""The campaign of power cuts during an update, sampled; `tally campaign update` is the whole."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import BOARDS, READERS
from tallystick.tools import firmware
from tallystick.tools.campaign.update.cuts import rig_of, run

FIRMWARE = Path(__file__).parents[3] / "firmware"
EVERY_KIND = {"a", "b", "n", "p", "s", "t", "w", "x"}


# One board of each flash: on the others every operation is the same.
FLASHES = {BOARDS[name].flash_timing: name for name in reversed(BOARDS)}


@pytest.mark.campaign
@pytest.mark.parametrize("board", [*FLASHES.values(), *READERS])
def test_no_cut_hurts(board):
    for seed in range(7, 12):  # most cuts of a reader's sample are where no second one follows
        result = run(board, sample=16, seed=seed)
        assert result.cuts >= 16 and result.updated_again
        assert set(result.faults) == EVERY_KIND
        assert result.violations == []
        if result.second_cuts:
            return
    pytest.fail("no cut was followed by another")


@pytest.mark.campaign
def test_a_case_that_is_no_more_is_said_clearly():
    with pytest.raises(BadInputError, match="operation 100000, and this update has"):
        run("pico", only="100000/a/-1")


# Update code with one deliberate fault each: module, what is replaced, by what.
BROKEN = {
    "a floor that rises before the image has proved itself": (
        "lib/loading.py",
        "record.write(wire.TRIAL, self._slot, record.floor)",
        "record.write(wire.TRIAL, self._slot, record.floor + 1)",
    ),
    "a trial that needs no confirmation": (
        "lib/slots.py",
        "if record.state == wire.TRIAL:",
        "if record.state == wire.TRIED:\n        pass\n    elif record.state == wire.TRIAL:",
    ),
}


@pytest.mark.campaign
@pytest.mark.parametrize("board", ["pico", *READERS])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_update_code_is_caught(name, board, tmp_path):
    module, right, wrong = BROKEN[name]
    copy = tmp_path / "firmware"
    shutil.copytree(FIRMWARE, copy)
    source = (copy / module).read_text()
    assert right in source
    (copy / module).write_text(source.replace(right, wrong))
    with firmware.rooted(copy):
        rig = rig_of(board, tmp_path)
    problems = []
    for operation in range(len(rig.operations))[-10:]:  # the trial
        problems += rig.explore(operation, "a", random.Random(1), whole=False).problems
    assert problems
