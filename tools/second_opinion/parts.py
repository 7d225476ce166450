"""Where the CPU time of a step goes, between what both emulators see of it: transfers to the
display, and writes to flash."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.devices.card import Card
from tallystick.tools.second_opinion.chip import SecondChip

DISPLAY, FLASH, END = "display", "flash", "end"


@dataclass(frozen=True)
class Part:
    """CPU time (µs) from the mark before to the first of a row of transfers or writes; to `END`,
    what is left of the step. None where that side did not get there."""

    to: str
    cpu_us: float | None
    other_cpu_us: float | None


class Marks:
    """What one side did, with its CPU time."""

    def __init__(self) -> None:
        self._firsts: list[tuple[str, float]] = []

    def add(self, kind: str, cpu_us: float) -> None:
        if not self._firsts or self._firsts[-1][0] != kind:
            self._firsts.append((kind, cpu_us))

    def take(self, began_us: float, ended_us: float) -> list[tuple[str, float]]:
        """(What, CPU time since the one before) of the step that is over."""
        marks = [*self._firsts, (END, ended_us)]
        self._firsts = []
        befores = [began_us, *(cpu_us for _, cpu_us in marks)]
        return [
            (kind, cpu_us - before) for (kind, cpu_us), before in zip(marks, befores, strict=False)
        ]


class CardMarks(Probe, Marks):
    """Ours."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        self._card = card
        card.attach(self)

    def bus(self, now_us: int, name: str, data: bytes, byte_us: float) -> None:
        if name == "i2c":
            self.add(DISPLAY, self._card.mcu.cpu_us)

    def flash(self, now_us: int, kind: str, address: int, size: int, duration_us: int) -> None:
        self.add(FLASH, self._card.mcu.cpu_us)


class ChipMarks(Marks):
    """The other's."""

    def __init__(self, chip: SecondChip) -> None:
        super().__init__()
        chip.on_display = lambda: self.add(DISPLAY, chip.cpu_us)
        chip.on_flash = lambda: self.add(FLASH, chip.cpu_us)


def side_by_side(ours: list[tuple[str, float]], other: list[tuple[str, float]]) -> list[Part]:
    """Parts of one step. Where the two did not do the same, it ends with the first that differs."""
    parts = []
    for (kind, cpu_us), (other_kind, other_cpu_us) in zip(ours, other, strict=False):
        if kind != other_kind:
            parts += [Part(kind, cpu_us, None), Part(other_kind, None, other_cpu_us)]
            break
        parts.append(Part(kind, cpu_us, other_cpu_us))
    return parts
