"""What the opinion asks of a chip that is not our emulator's: one interface for all of them.

A chip is a board with a card's parts (button, dock contact, display, cell), its flash, and time
that is virtual. The parts are our emulator's, the chip is not. What happens on its wires is told to
`Probe`s, the same that listen to our emulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.nor_flash import FaultPlan
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame

Segments = Iterable[tuple[int, bytes]]
"""(Offset in flash, bytes)."""


class Chip(Protocol):
    """Times are virtual: µs since it was made; durations in ms.

    `boots` counts starts, from power-on, sleep or reset. `sent` is all that went out over the
    serial line, `on_send` hears it as it goes. `fault_plan` may cut the power at a flash operation:
    the chip is then without power, as after `power_off`. `faults` are what the program did that a
    data sheet forbids, a sentence each.
    """

    board: CardBoard
    sent: bytearray
    on_send: Callable[[bytes], None] | None
    fault_plan: FaultPlan | None
    faults: list[str]
    rolls_its_own: bool  # it does not take the random bytes that it is given

    @property
    def display(self) -> MemoryLcd | Ssd1306: ...

    @property
    def boots(self) -> int: ...

    @property
    def powered(self) -> bool: ...

    @property
    def now_us(self) -> float: ...

    @property
    def cpu_us(self) -> float:
        """CPU time: what was executed, without what was slept."""
        ...

    @property
    def flash(self) -> bytes: ...

    def attach(self, probe: Probe) -> None: ...

    def power_on(self) -> None: ...

    def power_off(self) -> None: ...

    def set_button(self, down: bool) -> None: ...

    def press(self, ms: float = 120) -> None:
        """Presses the button, which is let go after `ms`. Takes no time itself."""
        ...

    def set_dock(self, docked: bool) -> None: ...

    def send(self, data: bytes) -> None:
        """Bytes to the serial line, one after the other at the card's speed from now on. Takes no
        time itself."""
        ...

    def frame(self) -> Frame:
        """What is on the glass."""
        ...

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        """Runs for `ms`, less when `until()`: asked after each transfer to the display and each
        byte sent. Whether it was."""
        ...
