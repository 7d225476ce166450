"""What a chip does on its wires in the steps of the opinion."""

from __future__ import annotations

from dataclasses import dataclass, field

from tallystick.emulator.boards.board import Board, CardBoard
from tallystick.emulator.chip.probe import Probe
from tallystick.tools.second_opinion.chip import Chip

DISPLAY, FLASH, SERIAL, END = "display", "flash", "serial line", "end"
Wire = list[tuple[str, bytes]]


@dataclass
class StepRecord:
    """Of one step. `errors`: what a data sheet forbids. `wires`: what went over each, in order:
    (what, bytes). `marks`: the firsts of rows of transfers to the display, of writes to flash, and
    of bytes sent over the line, with the CPU time (µs) from the one before; to END, the rest."""

    result: str
    frame: bytes
    flash: bytes
    cpu_us: float
    duration_us: float
    boots: int
    errors: list[str]
    rolls_its_own: bool = False
    wires: dict[str, Wire] = field(default_factory=dict)
    marks: list[tuple[str, float]] = field(default_factory=list)


class Recorder(Probe):
    """Listens to one chip; `take` ends a step."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        board: CardBoard = chip.board
        self._pins = {board.display_select_pin: "select", board.display_power_pin: "power"}
        self._pins.pop(-1, None)
        self._levels = dict.fromkeys(self._pins, 0)
        self._begin()
        chip.attach(self)

    def _begin(self) -> None:
        self._wires: dict[str, Wire] = {DISPLAY: [], SERIAL: [], FLASH: []}
        self._firsts: list[tuple[str, float]] = []
        self._cpu_us, self._now_us = self._chip.cpu_us, self._chip.now_us
        self._boots, self._errors = self._chip.boots, len(self._chip.display.errors)
        self._faults = len(self._chip.faults)

    def pin(self, now_us: int, pin: int, level: int) -> None:
        if pin in self._pins and level != self._levels[pin]:
            self._levels[pin] = level
            self._wires[DISPLAY].append((self._pins[pin], bytes((level,))))

    def state(self, now_us: int, state: str) -> None:
        """Asleep, in reset, or without power a chip drives nothing."""
        if state in ("deep sleep", "off", "standby", "shutdown", "reset"):
            self._levels = dict.fromkeys(self._pins, 0)

    def bus(self, now_us: int, name: str, data: bytes, byte_us: float) -> None:
        if name in ("spi", "i2c"):
            self._mark(DISPLAY)
            self._add(DISPLAY, name, data, joined=name == "spi")

    def serial(self, now_us: int, data: bytes, *, to_card: bool) -> None:
        if not to_card:
            self._mark(SERIAL)
            self._add(SERIAL, "sent", data, joined=True)

    def flash(self, now_us: int, kind: str, address: int, size: int, duration_us: int) -> None:
        self._mark(FLASH)
        self._add(FLASH, f"{kind} {address:#x}", b"", joined=False)

    def _mark(self, kind: str) -> None:
        if not self._firsts or self._firsts[-1][0] != kind:
            self._firsts.append((kind, self._chip.cpu_us))

    def _add(self, wire: str, what: str, data: bytes, *, joined: bool) -> None:
        """How a transfer is cut into pieces is nobody's business where the wire does not tell."""
        sent = self._wires[wire]
        if joined and sent and sent[-1][0] == what:
            sent[-1] = (what, sent[-1][1] + data)
        else:
            sent.append((what, data))

    def take(self, result: str) -> StepRecord:
        """What was done since the last one."""
        chip = self._chip
        ended = chip.cpu_us
        marks = [*self._firsts, (END, ended)]
        befores = [self._cpu_us, *(cpu_us for _, cpu_us in marks)]
        record = StepRecord(
            result=result,
            frame=chip.frame().pixels,
            flash=chip.flash[first_of_ours(chip.board) :],
            cpu_us=ended - self._cpu_us,
            duration_us=chip.now_us - self._now_us,
            boots=chip.boots - self._boots,
            errors=[*chip.display.errors[self._errors :], *chip.faults[self._faults :]],
            rolls_its_own=chip.rolls_its_own,
            wires=self._wires,
            marks=[(kind, at - before) for (kind, at), before in zip(marks, befores, strict=False)],
        )
        self._begin()
        return record


def first_of_ours(board: Board) -> int:
    """Where the flash begins that is not MicroPython's."""
    regions = (board.storage, board.record, board.identity, board.journal)
    return min(region.address for region in regions if region is not None)
