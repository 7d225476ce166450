"""A peripheral made of 32-bit registers, in which only what is named exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tallystick.tools.second_opinion.cortex import Cortex


class Registers:
    """`reset` are the registers that the chip's manual lists and what they hold after a reset. A
    subclass overrides `get` and `put` for those that do something; `on_reset` for its own state.
    What is not listed raises ChipError when it is touched.
    """

    def __init__(self, core: Cortex, base: int, reset: Mapping[int, int]) -> None:
        self.core = core
        self.base = base
        self._reset = dict(reset)
        self.values = dict(reset)

    def reset(self) -> None:
        self.values = dict(self._reset)
        self.on_reset()

    def on_reset(self) -> None:
        """The rest of its state."""

    def get(self, at: int) -> int:
        """What the register at this offset reads as."""
        return self.values[at]

    def put(self, at: int, value: int) -> None:
        """Writes it."""
        self.values[at] = value

    def read(self, offset: int, size: int) -> int:
        self._know("read", offset)
        return self.get(offset & ~3) >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        at, shift = offset & ~3, 8 * (offset & 3)
        self._know("wrote", offset)
        if size < 4:
            mask = (1 << 8 * size) - 1 << shift
            value = self.values[at] & ~mask | value << shift & mask
        self.put(at, value)

    def _know(self, verb: str, offset: int) -> None:
        if offset & ~3 not in self.values:
            what = (
                f"{verb} {self.base + offset:#010x}, an unknown register of {type(self).__name__}"
            )
            raise self.core.error(what)


class HasClock(Protocol):
    def __call__(self) -> bool: ...


class Gated:
    """A peripheral behind its clock: without it, it reads as 0 and takes nothing."""

    def __init__(self, device: Registers, has_clock: HasClock) -> None:
        self._device = device
        self._has_clock = has_clock

    def read(self, offset: int, size: int) -> int:
        return self._device.read(offset, size) if self._has_clock() else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if self._has_clock():
            self._device.write(offset, size, value)
