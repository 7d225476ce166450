"""The chip's pins: levels that the outside drives, edges that firmware asked to hear of, and what
hangs on the outputs."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from tallystick.emulator.interpreter import link

_FALLING, _RISING = 4, 8  # machine.Pin.IRQ_FALLING, IRQ_RISING


class Edge(Enum):
    """What a new level means to the chip."""

    NONE = 0  # the same level, or the first one
    SEEN = 1  # an edge
    FIRED = 2  # an edge that firmware asked for


class Pins:
    """`on_output` are the parts on output pins, by pin; each is given the levels."""

    def __init__(self) -> None:
        self.on_output: dict[int, Callable[[int], None]] = {}
        self._set_levels(0)
        self._inputs: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._fired: list[int] = []

    def _set_levels(self, levels: int) -> None:
        """Of the inputs, a bit a pin, as answers carry them: while flash may fail, and not."""
        self.levels = levels.to_bytes(link.PINS // 8, "little")
        self.levels_when_sure = (levels | 1 << link.FLASH_IS_SURE).to_bytes(
            link.PINS // 8, "little"
        )

    def reset(self) -> None:
        """Firmware starts: it has asked for nothing."""
        self._asked.clear()
        self._fired.clear()

    def release(self) -> None:
        """The chip drives nothing any more: what hangs on its outputs is pulled down."""
        for on_level in self.on_output.values():
            on_level(0)

    def ask(self, pin: int, edges: int) -> None:
        self._asked[pin] = edges

    def put(self, pin: int, level: int) -> None:
        """Firmware drives an output."""
        if pin in self.on_output:
            self.on_output[pin](level)

    def drive(self, pin: int, level: int) -> Edge | None:
        """The outside drives an input. None when it did so before, with this level."""
        before = self._inputs.get(pin)
        if before == level:
            return None
        self._inputs[pin] = level
        self._set_levels(int.from_bytes(self.levels, "little") & ~(1 << pin) | level << pin)
        if before is None:
            return Edge.NONE
        asked = self._asked.get(pin, 0) & (_RISING if level else _FALLING)
        return Edge.FIRED if asked else Edge.SEEN

    def fire(self, pin: int) -> None:
        """Firmware hears of this pin at its next wait, or at once when it is in one."""
        if pin not in self._fired:
            self._fired.append(pin)

    @property
    def fired(self) -> bool:
        return bool(self._fired)

    def take_fired(self) -> bytes:
        """The pins that fired, a byte each, once."""
        fired = bytes(self._fired)
        self._fired.clear()
        return fired
