"""The same flash, and the same done to it, on our emulator and on a chip that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import card_board
from tallystick.tools.fresh import card
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.firmware import load_firmware
from tallystick.tools.second_opinion.ours import Ours
from tallystick.tools.second_opinion.record import (
    DISPLAY,
    FLASH,
    SERIAL,
    Recorder,
    StepRecord,
    Wire,
)
from tallystick.tools.second_opinion.scenario import (
    FAILED,
    STEPS,
    HeldChip,
    act,
    entropy,
    station,
)

CELL_MV = 3000
_BAR_ROWS, _BAR_BYTES = 5, 130  # that are sent to redraw the bar, on any display


@dataclass(frozen=True)
class Part:
    """CPU time (µs) from the mark before to the first of a row of transfers to the display, of
    writes to flash, or of bytes sent over the line; to `END`, what is left of the step. None where
    that side did not get there."""

    to: str
    cpu_us: float | None
    other_cpu_us: float | None


@dataclass(frozen=True)
class Step:
    """`differences`: what is not the same, a sentence each."""

    name: str
    ours: StepRecord
    other: StepRecord
    parts: list[Part]
    differences: list[str]

    @property
    def agrees(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Opinion:
    board: str
    steps: list[Step]

    @property
    def agrees(self) -> bool:
        return all(step.agrees for step in self.steps)


def compare(
    firmware: Path,
    board_name: str,
    on_step: Callable[[Step], None] | None = None,
    steps: int = len(STEPS),
) -> Opinion:
    """Runs our card and the other one side by side, for the first so many `steps`. `firmware` is
    MicroPython for the board.

    Raises BadInputError for what is not, or without the package that the chip needs; ChipError when
    it does what the chip does not have.
    """
    board = card_board(find(board_name))
    loaded = load_firmware(firmware, board)
    segments = loaded.segments
    office = station(board_name)
    found: list[Step] = []
    with card(board_name) as device:
        ours = Ours(device, CELL_MV, entropy("card"))
        end = board.storage.end
        first = max(address + len(data) for address, data in segments)
        held = bytes(device.flash.memory[first:end])
        other = make(
            board, [*segments, (first, held)], cell_mv=CELL_MV, entropy=entropy("card"),
            symbols=loaded.symbols,
        )  # fmt: skip
        recorders = [Recorder(ours), Recorder(other)]
        rigs = [HeldChip(ours, office), HeldChip(other, office)]
        for name, step in STEPS[:steps]:
            records = [
                recorder.take(act(step, rig)) for rig, recorder in zip(rigs, recorders, strict=True)
            ]
            found.append(judge(name, *records))
            if on_step is not None:
                on_step(found[-1])
    return Opinion(board_name, found)


def judge(name: str, ours: StepRecord, other: StepRecord) -> Step:
    """What both sides did in one step, beside each other."""
    differences = []
    if ours.result != other.result:
        differences.append(f"ours: {ours.result!r}, the other: {other.result!r}")
    elif ours.result.startswith(FAILED):
        differences.append(f"on both: {ours.result}")  # what comes after would show nothing
    if ours.frame != other.frame:
        count = sum(a != b for a, b in zip(ours.frame, other.frame, strict=True))
        differences.append(f"{count} pixels of the picture differ")
    if ours.boots != other.boots:
        differences.append(f"ours started {ours.boots} times, the other {other.boots}")
    if ours.flash != other.flash:
        differences.append(_flash_difference(ours.flash, other.flash))
    for wire in (DISPLAY, SERIAL, FLASH):
        sizes_only = wire == SERIAL and other.rolls_its_own
        differences += _wire_difference(wire, ours.wires[wire], other.wires[wire], sizes_only)
    if len(ours.errors) != len(other.errors):
        differences.append(
            f"against a data sheet: {ours.errors} of ours, {other.errors} of the other"
        )
    parts, same_order = side_by_side(ours.marks, other.marks)
    if not same_order:
        differences.append("display, flash and line took turns in another order")
    return Step(name, ours, other, parts, differences)


def _flash_difference(ours: bytes, other: bytes) -> str:
    differing = [n for n, (a, b) in enumerate(zip(ours, other, strict=True)) if a != b]
    return f"{len(differing)} bytes of the flash differ, the first {differing[0]:#x} from its begin"


def _wire_difference(wire: str, ours: Wire, other: Wire, sizes_only: bool) -> list[str]:
    """sizes_only: of a side whose random numbers are its own, answers under keys that were made of
    them are as long as ours; the station has checked what they say."""
    if sizes_only:
        ours, other = ([(what, bytes(len(data))) for what, data in side] for side in (ours, other))
    for n, (one, two) in enumerate(zip(ours, other, strict=False)):
        if one != two and not (wire == DISPLAY and _same_but_for_the_bar(one, two)):
            return [f"{wire}: transfer {n} is {_words(one)} of ours, {_words(two)} of the other"]
    if len(ours) != len(other):
        return [f"{wire}: {len(ours)} transfers of ours, {len(other)} of the other"]
    return []


def _same_but_for_the_bar(one: tuple[str, bytes], two: tuple[str, bytes]) -> bool:
    """How long the bar of the time left is depends on a clock that no two chips share to the
    millisecond: in the few rows that are sent for it, each may be a pixel off."""
    (what, ours), (other_what, other) = one, two
    if what != other_what or len(ours) != len(other) or not 16 < len(ours) <= _BAR_BYTES:
        return False
    return sum((a ^ b).bit_count() for a, b in zip(ours, other, strict=True)) <= _BAR_ROWS


def _words(transfer: tuple[str, bytes]) -> str:
    what, data = transfer
    start = data[:16].hex(" ") + (" …" if len(data) > 16 else "")
    return f"{what} ({len(data)} bytes{': ' + start if data else ''})"


Marks = list[tuple[str, float]]


def side_by_side(ours: Marks, other: Marks) -> tuple[list[Part], bool]:
    """Parts of one step, and whether both did the same. Where not, they end with the first that
    differs."""
    parts = []
    for (kind, cpu_us), (other_kind, other_cpu_us) in zip(ours, other, strict=False):
        if kind != other_kind:
            parts += [Part(kind, cpu_us, None), Part(other_kind, None, other_cpu_us)]
            return parts, False
        parts.append(Part(kind, cpu_us, other_cpu_us))
    return parts, True
