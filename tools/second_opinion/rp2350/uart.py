"""UART0 and UART1: ARM's PL011 (RP2350 data sheet, 12.1; PL011 manual DDI 0183)."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_DEPTH = 32
_LEVELS = (4, 8, 16, 24, 28)  # of 32: one eighth, quarter, half, three quarters, seven eighths
_RX, _TX, _TIMEOUT, _OVERRUN = 1 << 4, 1 << 5, 1 << 6, 1 << 10
_ENABLED, _TX_ENABLED, _RX_ENABLED = 1, 1 << 8, 1 << 9
_BITS = 10  # start, eight data, stop
_TIMEOUT_BITS = 32
_TOLERANCE = 0.04  # between two ends' baud rates: then a byte's last bit is still inside


class Uart(RegisterBlock):
    """on_byte: a byte has left, with the baud rate that it left at."""

    def __init__(self, core: Cortex, name: str, irq: int, clock_hz: Callable[[], float]) -> None:
        super().__init__(core, name)
        self._irq = irq
        self._clock_hz = clock_hz
        self.on_byte: Callable[[int, float], None] = lambda _byte, _baud: None
        self._sending: Scheduled | None = None
        self._timeout: Scheduled | None = None
        self.reset()
        self.reads.update({0x00: self._take, 0x04: lambda: 0, 0x18: self._flags,
                           0x3C: lambda: self._raw, 0x40: self._masked})  # fmt: skip
        self.writes.update({0x00: self._send, 0x04: lambda _value: None, 0x44: self._clear,
                            0x38: lambda _value: self._line(),
                            0x30: lambda _value: self._controlled()})  # fmt: skip

    def reset(self) -> None:
        self.kept = {0x24: 0, 0x28: 0, 0x2C: 0, 0x30: 0x300, 0x34: 0x12, 0x38: 0, 0x48: 0}
        self._out: list[int] = []
        self._in: list[int] = []
        self._raw = 0
        for event in (self._sending, self._timeout):
            if event is not None:
                event.cancel()
        self._sending = self._timeout = None
        self._line()

    @property
    def baud(self) -> float:
        divider = self.kept[0x24] + self.kept[0x28] / 64
        if not divider or not self.kept[0x30] & _ENABLED:
            return 0
        return self._clock_hz() / (16 * divider)

    @property
    def byte_ns(self) -> float:
        return _BITS * 1e9 / self.baud

    def receive(self, byte: int, baud: float) -> None:
        """A byte has arrived on the line, sent at `baud`."""
        if not self.baud or not self.kept[0x30] & _RX_ENABLED:
            return
        if abs(baud / self.baud - 1) > _TOLERANCE:
            byte = ~byte & 0xFF  # sampled at the wrong times: not what was sent
        if len(self._in) >= self._depth:
            self._raw |= _OVERRUN
        else:
            self._in.append(byte)
        self._look_in()
        self._line()

    @property
    def _depth(self) -> int:
        return _DEPTH if self.kept[0x2C] & 0x10 else 1

    def _level(self, shift: int) -> int:
        return _LEVELS[min(4, self.kept[0x34] >> shift & 7)] if self._depth > 1 else 1

    def _look_in(self) -> None:
        if len(self._in) >= self._level(3):
            self._raw |= _RX
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if self._in and self.baud:
            self._timeout = self.core.after(_TIMEOUT_BITS * 1e9 / self.baud, self._timed_out)

    def _timed_out(self) -> None:
        self._timeout = None
        self._raw |= _TIMEOUT
        self._line()

    def _take(self) -> int:
        byte = self._in.pop(0) if self._in else 0
        if len(self._in) < self._level(3):
            self._raw &= ~_RX
        if not self._in:
            self._raw &= ~_TIMEOUT
        self._look_in()
        self._line()
        return byte

    def _send(self, value: int) -> None:
        if len(self._out) < self._depth:
            self._out.append(value & 0xFF)
        if len(self._out) > self._level(0):
            self._raw &= ~_TX
        self._next()
        self._line()

    def _next(self) -> None:
        if self._sending is None and self._out and self.baud and self.kept[0x30] & _TX_ENABLED:
            byte, baud = self._out.pop(0), self.baud
            if len(self._out) == self._level(0) or not self._out:
                self._raw |= _TX
            self._sending = self.core.after(self.byte_ns, lambda: self._sent(byte, baud))

    def _sent(self, byte: int, baud: float) -> None:
        self._sending = None
        self._next()
        self._line()
        self.on_byte(byte, baud)

    def _flags(self) -> int:
        full = len(self._out) >= self._depth
        busy = self._sending is not None or bool(self._out)
        if busy and self._sending is not None:
            self.core.polls(self._sending.due_ns)
        return (
            (not self._out) << 7
            | (len(self._in) >= self._depth) << 6
            | full << 5
            | (not self._in) << 4
            | busy << 3
        )

    def _masked(self) -> int:
        return self._raw & self.kept[0x38]

    def _clear(self, value: int) -> None:
        self._raw &= ~value
        self._line()

    def _controlled(self) -> None:
        self._next()
        self._line()

    def _line(self) -> None:
        self.core.nvic.line(self._irq, self._masked() != 0)
