"""What is written down of a chip in a step: every wire, in its order, and all of the flash."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.parts.nor_flash import FlashOperation, Phase
from tallystick.emulator.seeing.frames import Frame
from tallystick.tools.second_opinion.record import (
    DISPLAY,
    END,
    FLASH,
    SERIAL,
    Recorder,
    first_of_ours,
)
from tallystick.tools.second_opinion.scenario import HeldChip, station


@dataclass
class Display:
    errors: list[str] = field(default_factory=list)


@dataclass
class StillChip:
    """Does nothing by itself."""

    board: Any
    probes: list[Any] = field(default_factory=list)
    display: Display = field(default_factory=Display)
    faults: list[str] = field(default_factory=list)
    cpu_us: float = 0.0
    now_us: float = 0.0
    boots: int = 0
    rolls_its_own: bool = False
    powered: bool = True
    fault_plan: Any = None
    cuts: list[Any] = field(default_factory=list)

    @property
    def flash(self) -> bytes:
        return random.Random(1).randbytes(self.board.flash_size)

    def attach(self, probe: Any) -> None:
        self.probes.append(probe)

    def frame(self) -> Frame:
        return Frame(8, 1, bytes(8))

    def press(self, ms: float) -> None:
        journal = self.board.journal
        for address in (journal.address - 8, journal.address + 8, journal.address + 16):
            operation = FlashOperation(0, "program", address, b"\xff" * 8, bytes(range(8)))
            self.cuts.append(self.fault_plan(operation))

    def run(self, ms: float, until: Any = None) -> bool:
        self.powered = False
        return True


@pytest.fixture(params=["nucleo_l476rg", "pico", "pico2_card"])
def chip(request):
    return StillChip(find(request.param))


def test_every_wire_is_written_down_in_its_order(chip):
    board = chip.board
    recorder = Recorder(chip)
    (probe,) = chip.probes
    expected = []
    for pin, name in (
        (board.display_power_pin, "power"),
        (board.display_select_pin, "select"),
    ):
        probe.pin(0, pin, 1)
        probe.pin(0, pin, 1)
        expected += [(name, b"\1")] if pin >= 0 else []
    probe.pin(0, board.button_pin, 1)
    chip.cpu_us = 5.0
    probe.bus(0, "spi", b"ab", 1.0)
    probe.bus(0, "spi", b"cd", 1.0)
    probe.bus(0, "i2c", b"ef", 1.0)
    probe.bus(0, "i2c", b"gh", 1.0)
    chip.cpu_us = 7.0
    probe.flash(0, "program", 0x1000, 8, 1)
    probe.serial(0, b"asked", to_card=True)
    chip.cpu_us = 10.0
    probe.serial(0, b"xy", to_card=False)
    probe.serial(0, b"z", to_card=False)
    chip.cpu_us = 11.0
    record = recorder.take("done")
    assert record.wires == {
        DISPLAY: [*expected, ("spi", b"abcd"), ("i2c", b"ef"), ("i2c", b"gh")],
        FLASH: [("program 0x1000", b"")],
        SERIAL: [("sent", b"xyz")],
    }
    assert record.marks == [(DISPLAY, 5.0), (FLASH, 2.0), (SERIAL, 3.0), (END, 1.0)]
    assert recorder.take("").wires == {DISPLAY: [], FLASH: [], SERIAL: []}


def test_all_of_the_flash_that_is_not_micropythons_is_compared(chip):
    board = chip.board
    first = first_of_ours(board)
    areas = [board.boot, *board.slots, board.record, board.identity, board.journal]
    assert first == min(area.address for area in areas)
    left = Recorder(chip).take("").flash
    assert len(left) == board.flash_size - first
    assert left == chip.flash[first:]


def test_power_is_cut_in_the_middle_of_the_first_write_to_the_journal(chip):
    assert HeldChip(chip, station(chip.board.name)).cut() == "cut"
    outside, first, second = chip.cuts
    assert outside is None and second is None
    assert first.phase is Phase.DURING
    assert first.content == bytes(range(4)) + b"\xff" * 4
