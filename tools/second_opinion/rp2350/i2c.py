"""I2C0 and I2C1 as masters: Synopsys' DW_apb_i2c (RP2350 data sheet, 12.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_READ, _STOP, _RESTART = 1 << 8, 1 << 9, 1 << 10
_TX_EMPTY, _TX_ABORT, _STOP_DETECTED, _RX_FULL = 1 << 4, 1 << 6, 1 << 9, 1 << 2
_NO_ADDRESS, _NO_DATA = 1, 1 << 3  # TX_ABRT_SOURCE
_BITS = 9  # of a byte, with its acknowledgement
_DEPTH = 16


class Slave(Protocol):
    """What hangs on the bus: `write` is given a whole transfer, and what a byte of it takes;
    `read` gives a byte."""

    def answers(self, address: int) -> bool: ...

    def write(self, address: int, data: bytes, byte_us: float) -> None: ...

    def read(self, address: int) -> int: ...


class I2c(RegisterBlock):
    def __init__(self, core: Cortex, name: str, irq: int, clock_hz: Callable[[], float]) -> None:
        super().__init__(core, name)
        self._irq = irq
        self._clock_hz = clock_hz
        self.slave: Slave | None = None
        self.reset()
        self.writes.update({0x10: self._command, 0x6C: lambda _value: self._enabled()})
        self.reads.update({
            0x10: self._take, 0x2C: lambda: self._status() & self.kept[0x30], 0x34: self._poll,
            0x40: lambda: self._clear(_TX_ABORT | _STOP_DETECTED), 0x54: self._clear_abort,
            0x60: lambda: self._clear(_STOP_DETECTED), 0x64: lambda: 0, 0x5C: lambda: 0,
            0x70: lambda: 0x06 | self._busy() | bool(self._in) << 3,
            0x74: self._waiting, 0x78: lambda: len(self._in),
            0x80: lambda: self._abort, 0x9C: lambda: self.kept[0x6C] & 1,
            0xF4: lambda: 0, 0xF8: lambda: 0x3230312A, 0xFC: lambda: 0x44570140,
        })  # fmt: skip

    def reset(self) -> None:
        self.kept = {0x00: 0x65, 0x04: 0x55, 0x08: 0x55, 0x14: 0x28, 0x18: 0x2F, 0x1C: 6, 0x20: 13,
                     0x30: 0x8FF, 0x38: 0, 0x3C: 0, 0x6C: 0, 0x7C: 1, 0x84: 0, 0x88: 0, 0x8C: 0,
                     0x90: 0, 0x94: 0x64, 0x98: 1, 0xA0: 7}  # fmt: skip
        self._raw = 0
        self._abort = 0
        self._in: list[int] = []
        self._sent = bytearray()
        self._open = False  # between start and stop
        self._until_ns = 0.0  # what was commanded is over then

    @property
    def _byte_ns(self) -> float:
        return _BITS * (self.kept[0x1C] + self.kept[0x20]) * 1e9 / self._clock_hz()

    def _enabled(self) -> None:
        if not self.kept[0x6C] & 1:
            self._raw = self._abort = 0
            self._in.clear()
            self._end()

    def _command(self, value: int) -> None:
        """Commands are carried out at once; that they take their time, is seen in the status."""
        if not self.kept[0x6C] & 1 or self._abort:
            return
        address = self.kept[0x04] & 0x3FF
        start = max(self.core.now_ns, self._until_ns)
        self._until_ns = start + self._byte_ns
        if not self._open or value & _RESTART:
            self._end()
            self._open = True
            self._until_ns += self._byte_ns
            if self.slave is None or not self.slave.answers(address):
                self._abort = _NO_ADDRESS
                self._raw |= _TX_ABORT | _STOP_DETECTED
                self._open = False
                return
        if value & _READ:
            assert self.slave is not None
            self._in.append(self.slave.read(address))
        else:
            self._sent.append(value & 0xFF)
        if value & _STOP:
            self.core.after(self._until_ns - self.core.now_ns, self._end)
            self._open = False
            self._raw |= _STOP_DETECTED

    def _end(self) -> None:
        """A transfer is over."""
        if self._sent and self.slave is not None:
            data = bytes(self._sent)
            self._sent.clear()
            self.slave.write(self.kept[0x04] & 0x3FF, data, self._byte_ns / 1000)

    def _busy(self) -> int:
        return 0x21 if self.core.now_ns < self._until_ns else 0

    def _waiting(self) -> int:
        left = self._until_ns - self.core.now_ns
        return min(_DEPTH, max(0, int(left / self._byte_ns)))

    def _status(self) -> int:
        if self.core.now_ns < self._until_ns:
            return self._raw & ~_STOP_DETECTED
        return self._raw | _TX_EMPTY | (_RX_FULL if self._in else 0)

    def _poll(self) -> int:
        status = self._status()
        if self.core.now_ns < self._until_ns:
            self.core.polls(self._until_ns)
        return status

    def _take(self) -> int:
        return self._in.pop(0) if self._in else 0

    def _clear(self, bits: int) -> int:
        self._raw &= ~bits
        return 0

    def _clear_abort(self) -> int:
        self._abort = 0
        return self._clear(_TX_ABORT)
