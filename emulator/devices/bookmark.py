"""A point in the life of a running reader, to go back to as often as one likes.

For programs that run firmware inside their own process (`interpreter/resident.py`). The point is
one where nothing is under way: the firmware waits, and no event is due. Flash is put back by what
was done to it since.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.devices.snapshot import values
from tallystick.emulator.interpreter import resident
from tallystick.emulator.parts.nor_flash import FlashOperation


class FlashHistory:
    """What every flash operation found, so that it can be undone."""

    def __init__(self, reader: Reader) -> None:
        self._memory = reader.flash.memory
        self._found: list[tuple[int, bytes]] = []
        reader.flash.fault_plan = self._note

    def _note(self, operation: FlashOperation) -> None:
        self.note(operation.address, operation.old)

    def note(self, address: int, content: bytes) -> None:
        """What is about to be changed there."""
        self._found.append((address, content))

    def now(self) -> int:
        """To be given to `undo`."""
        return len(self._found)

    def undo(self, until: int) -> None:
        while len(self._found) > until:
            address, content = self._found.pop()
            self._memory[address : address + len(content)] = content


class Bookmark:
    """parts: what else of the world around the reader remembers something. restore: called before
    their values are put back."""

    def __init__(
        self,
        reader: Reader,
        history: FlashHistory,
        rng: random.Random,
        parts: tuple[object, ...],
        restore: Callable[[], None],
    ) -> None:
        mcu = reader.mcu
        link = mcu.link
        assert isinstance(link, resident.ResidentLink)
        assert mcu.state is ChipState.RUNNING and mcu.wait_deadline is not None
        assert reader.clock.next_event() is None, "nothing may be under way"
        self._reader = reader
        self._history = history
        self._rng = rng
        self._restore = restore
        self._mark = link.mark()
        self._flash = history.now()
        self._random = rng.getstate()
        self._parts = (
            mcu,
            mcu.console,
            mcu.timers,
            mcu.watchdog,
            mcu.pins,
            mcu.uart,
            mcu.usb,
            mcu.registers,
            reader.clock,
            reader,
            *parts,
        )
        self._values: list[dict[str, Any]] = [values(part) for part in self._parts]

    def return_to(self) -> None:
        """The reader is again as it was."""
        reader, mcu = self._reader, self._reader.mcu
        mcu.crash = ""
        mcu.link = self._mark.return_with(mcu.link, mcu.console.descriptor)
        self._history.undo(self._flash)
        self._rng.setstate(self._random)
        self._restore()
        for part, kept in zip(self._parts, self._values, strict=True):
            for name, value in kept.items():
                setattr(part, name, copy.copy(value))
        reader.clock.clear()
        mcu.usb.forget_transfers()
        reader.reports.clear()
