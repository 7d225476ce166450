"""Our emulator's card, as the other chips are seen: what is asked of both is written once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import MS
from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.nor_flash import FaultPlan
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame

_BYTE_US = 10_000_000 / 115_200


class _Tape(random.Random):
    """Random bytes that were there before."""

    def __init__(self, entropy: Iterator[int]) -> None:
        super().__init__(0)
        self._entropy = entropy

    def randbytes(self, n: int) -> bytes:
        return bytes(next(self._entropy) for _ in range(n))


class Ours:
    """`Chip` around a `Card`. Its cell is as stiff as the other's supply, and its random bytes are
    `entropy`, so that both are asked the same."""

    def __init__(self, card: Card, cell_mv: int, entropy: Iterator[int]) -> None:
        self.card = card
        self.board: CardBoard = card.board
        self.sent = bytearray()
        self.on_send: Callable[[bytes], None] | None = None
        self.faults: list[str] = []
        self.rolls_its_own = False
        self._line_us = 0.0
        card.cell.fixed_mv, card.cell.fixed_ohm = cell_mv, 0.0
        card.mcu.reseed(_Tape(entropy))
        card.mcu.uart.on_send = self._hear

    def _hear(self, data: bytes) -> None:
        self.sent += data
        if self.on_send is not None:
            self.on_send(data)

    @property
    def display(self) -> MemoryLcd | Ssd1306:
        return self.card.display

    @property
    def boots(self) -> int:
        return self.card.mcu.boots

    @property
    def powered(self) -> bool:
        return self.card.powered

    @property
    def fault_plan(self) -> FaultPlan | None:
        return self.card.flash.fault_plan

    @fault_plan.setter
    def fault_plan(self, plan: FaultPlan | None) -> None:
        self.card.flash.fault_plan = plan

    @property
    def now_us(self) -> float:
        return self.card.clock.now

    @property
    def cpu_us(self) -> float:
        return self.card.mcu.cpu_us

    @property
    def flash(self) -> bytes:
        return bytes(self.card.flash.memory)

    def attach(self, probe: Probe) -> None:
        self.card.attach(probe)

    def frame(self) -> Frame:
        return self.card.frame()

    def power_on(self) -> None:
        self.card.display.power(self.board.display_power_pin < 0)
        self.card.mcu.power_on()

    def power_off(self) -> None:
        self.card.power_off()

    def set_button(self, down: bool) -> None:
        active = self.board.button_active
        self.card.mcu.set_input(self.board.button_pin, active if down else 1 ^ active)

    def press(self, ms: float = 120) -> None:
        self.set_button(True)
        self.card.clock.after(round(ms * MS), partial(self.set_button, False))

    def set_dock(self, docked: bool) -> None:
        active = self.board.dock_active
        self.card.supply.docked = docked
        self.card.mcu.set_input(self.board.dock_pin, active if docked else 1 ^ active)

    def send(self, data: bytes) -> None:
        now = self.card.clock.now
        self._line_us = max(self._line_us, now)
        for byte in data:
            self._line_us += _BYTE_US
            arrives = partial(self.card.mcu.feed_uart, bytes((byte,)))
            self.card.clock.after(round(self._line_us) - now, arrives)

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        if until is None:
            self.card.run_for(ms)
            return False
        return self.card.run_until(until, round(ms))
