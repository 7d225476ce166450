"""Power control (RM0351, chapter 5): which sleep is entered, what ends it, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers

BASE = 0x40007000
_CR1, _CR2, _CR3, _CR4, _SR1, _SR2, _SCR = range(0x00, 0x1C, 4)
_PULLS = range(0x20, 0x60, 4)  # up, down of ports A to H
_RESET = {
    _CR1: 0x200, _CR2: 0, _CR3: 0x8000, _CR4: 0, _SR1: 0, _SR2: 0, _SCR: 0,
    **dict.fromkeys(_PULLS, 0),
}  # fmt: skip
_KEPT_IN_STANDBY = {_CR3, _CR4, _SR1, *_PULLS}
_DBP, _APC, _RRS, _EIWUL = 1 << 8, 1 << 10, 1 << 8, 1 << 15
_RAISE_US = 20.0  # from range 2 to range 1, typically (DS10198, table 42)
_STANDBY_FLAG, _INTERNAL_WAKE = 1 << 8, 1 << 15

WAKE_PINS = {0x00: 0, 0x2D: 1, 0x44: 2, 0x02: 3, 0x25: 4}  # PA0, PC13, PE6, PA2, PC5 → WKUPn - 1


class Sleep(Enum):
    """Low-power modes with SLEEPDEEP, by LPMS."""

    STOP0 = 0
    STOP1 = 1
    STOP2 = 2
    STANDBY = 3
    SHUTDOWN = 4

    @property
    def is_stop(self) -> bool:
        return self.value <= 2


class Power(Registers):
    """`on_change` is called when the voltage range may have changed."""

    def __init__(self, core: Cortex, on_change: Callable[[], None]) -> None:
        super().__init__(core, BASE, _RESET)
        self._on_change = on_change
        self._range_one_ns = 0.0  # when the voltage is up, after it was raised

    def leave_standby(self) -> None:
        """Standby is over: most of it is kept, and it says so."""
        kept = {at: self.values[at] for at in _KEPT_IN_STANDBY}
        self.values = {**_RESET, **kept}
        self.values[_SR1] |= _STANDBY_FLAG

    def get(self, at: int) -> int:
        if at == _SR2:
            rising = self.core.now_ns < self._range_one_ns
            return rising << 10 | (self.values[_CR1] >> 14 & 1) << 9 | 1 << 8
        return 0 if at == _SCR else self.values[at]

    def put(self, at: int, value: int) -> None:
        if at == _SCR:
            self.values[_SR1] &= ~(value & 0x11F)
        elif at not in (_SR1, _SR2):
            if at == _CR1 and self.in_range_two and value >> 9 & 3 != 2:
                self._range_one_ns = self.core.now_ns + _RAISE_US * 1000
            self.values[at] = value
            self._on_change()

    @property
    def backup_open(self) -> bool:
        return bool(self.values[_CR1] & _DBP)

    @property
    def in_range_two(self) -> bool:
        """The core's voltage is the low one, or not yet the high one."""
        low = self.values[_CR1] >> 9 & 3 == 2
        return low or self.core.now_ns < self._range_one_ns

    @property
    def sleep(self) -> Sleep:
        mode = self.values[_CR1] & 7
        return Sleep(min(mode, 4))

    @property
    def keeps_sram2(self) -> bool:
        return bool(self.values[_CR3] & _RRS)

    def pull(self, pin: int) -> int:
        """Of Standby and Shutdown: 1 up, -1 down, 0 none."""
        if not self.values[_CR3] & _APC:
            return 0
        at = 0x20 + 8 * (pin >> 4)
        if self.values[at + 4] >> (pin & 15) & 1:
            return -1
        return self.values[at] >> (pin & 15) & 1

    def listens(self, pin: int) -> bool:
        return pin in WAKE_PINS and bool(self.values[_CR3] >> WAKE_PINS[pin] & 1)

    def edge(self, pin: int, level: int) -> bool:
        """A level changed: whether that is a wake-up event. It sets the flag in any mode."""
        if not self.listens(pin) or level == self.values[_CR4] >> WAKE_PINS[pin] & 1:
            return False
        self.values[_SR1] |= 1 << WAKE_PINS[pin]
        return True

    def internal_wake(self) -> bool:
        """The clock's wake-up line rose: whether that ends Standby."""
        if self.values[_CR3] & _EIWUL:
            self.values[_SR1] |= _INTERNAL_WAKE
        return bool(self.values[_CR3] & _EIWUL)

    @property
    def flagged(self) -> bool:
        """A wake-up flag is set: Standby would end as it begins."""
        return bool(self.values[_SR1] & 0x1F & self.values[_CR3])
