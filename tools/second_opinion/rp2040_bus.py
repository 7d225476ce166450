"""Between Unicorn's core and rp2040py's peripherals: time, interrupts, addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled

if TYPE_CHECKING:
    from rp2040py.rp2040 import RP2040

_WORD = 0xFFFFFFFF
_GPIO_IN = 0x04
_DIVIDEND_U, _DIVISOR_U, _DIVIDEND_S, _DIVISOR_S = 0x60, 0x64, 0x68, 0x6C
_QUOTIENT, _REMAINDER, _STATE = 0x70, 0x74, 0x78


class _Alarm:
    """Of rp2040py's interface of a clock."""

    def __init__(self, core: Cortex, callback: Callable[[], None]) -> None:
        self._core = core
        self._callback = callback
        self._due: Scheduled | None = None
        self.scheduled = False

    def schedule(self, delta_nanos: float) -> None:
        self.cancel()
        self.scheduled = True
        self._due = self._core.after(max(0.0, delta_nanos), self._fire)

    def cancel(self) -> None:
        self.scheduled = False
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _fire(self) -> None:
        self._due = None
        self.scheduled = False
        self._callback()


class CoreClock:
    """The core's time, for peripherals."""

    def __init__(self, core: Cortex) -> None:
        self._core = core

    @property
    def nanos(self) -> float:
        return self._core.now_ns

    @property
    def micros(self) -> float:
        return self._core.now_ns / 1000

    def create_alarm(self, callback: Callable[[], None]) -> _Alarm:
        return _Alarm(self._core, callback)

    def tick(self, delta_nanos: float) -> None:
        """delta_nanos: ns, that the core waits for a bus."""
        self._core.stall(delta_nanos)


class Lines:
    """What peripherals ask of the core: to hold their lines of interrupts."""

    def __init__(self, core: Cortex) -> None:
        self._core = core
        self.cycles = 0
        self.waiting = False
        self.interrupt_nmi_mask = 0

    def set_interrupt(self, irq: int, value: bool) -> None:
        self._core.nvic.line(irq, value)

    def reset(self) -> None:
        """It is reset by the chip."""


class PeripheralBus:
    """Peripherals by their whole address, as that emulator has them."""

    def __init__(self, mcu: RP2040, changed: Callable[[], None] = lambda: None) -> None:
        """changed is called after each write: pins may have another level."""
        self._changed = changed
        self._read = {4: mcu.read_uint32, 2: mcu.read_uint16, 1: mcu.read_uint8}
        self._write = {4: mcu.write_uint32, 2: mcu.write_uint16, 1: mcu.write_uint8}

    def read(self, address: int, size: int) -> int:
        return int(self._read[size](address)) & _WORD

    def write(self, address: int, size: int, value: int) -> None:
        self._write[size](address, value)
        self._changed()


class Sio(PeripheralBus):
    """The processor's own block. Its divider is used at each look-up of a name, and is therefore
    played here (RP2040 data sheet, 2.3.1.5): signed and unsigned, rounded towards zero."""

    def __init__(self, mcu: RP2040) -> None:
        super().__init__(mcu, self.forget_pins)
        self._pins: int | None = None
        self._dividend = self._quotient = self._remainder = 0
        self._divisor = 1
        self._state = 1  # ready

    def forget_pins(self) -> None:
        """Their levels are asked for anew: to look at all of them takes long, and programs poll."""
        self._pins = None

    def read(self, address: int, size: int) -> int:
        offset = address & 0xFFF
        if offset == _GPIO_IN and size == 4:
            if self._pins is None:
                self._pins = super().read(address, size)
            return self._pins
        if offset == _QUOTIENT:
            self._state = 1
            return self._quotient
        divider = {
            _REMAINDER: self._remainder, _STATE: self._state,
            _DIVIDEND_U: self._dividend, _DIVIDEND_S: self._dividend,
            _DIVISOR_U: self._divisor, _DIVISOR_S: self._divisor,
        }  # fmt: skip
        return divider[offset] if offset in divider else super().read(address, size)

    def write(self, address: int, size: int, value: int) -> None:
        offset = address & 0xFFF
        if not _DIVIDEND_U <= offset <= _REMAINDER:
            super().write(address, size, value)
            return
        self._state = 3  # ready, and changed since the quotient was read
        if offset == _QUOTIENT:
            self._quotient = value
            return
        if offset == _REMAINDER:
            self._remainder = value
            return
        if offset in (_DIVIDEND_U, _DIVIDEND_S):
            self._dividend = value
        else:
            self._divisor = value
        self._divide(signed=offset in (_DIVIDEND_S, _DIVISOR_S))

    def _divide(self, *, signed: bool) -> None:
        a, b = self._dividend, self._divisor
        if signed:
            a, b = (n - (n >> 31 << 32) for n in (a, b))
        if not b:
            self._quotient = (1 if a < 0 else -1) & _WORD
            self._remainder = a & _WORD
            return
        quotient = abs(a) // abs(b)
        if (a < 0) != (b < 0):
            quotient = -quotient
        self._quotient = quotient & _WORD
        self._remainder = a - quotient * b & _WORD
