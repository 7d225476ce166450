"""The analogue-to-digital converter, one conversion at a time (RP2350 data sheet, 12.4)."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

_ENABLE, _START_ONCE, _READY = 1, 1 << 2, 1 << 8
_CONVERSION_NS = 2_000  # 96 cycles at 48 MHz


class Adc(RegisterBlock):
    """`sample(channel)` gives the reading, 0 to 4095."""

    def __init__(self, core: Cortex) -> None:
        super().__init__(core, "ADC", {0x00: 0, 0x08: 0, 0x10: 0, 0x18: 0, 0x1C: 0})
        self.sample: Callable[[int], int] = lambda _channel: 0
        self._result = 0
        self._ready_ns = 0.0
        self.reads[0x00] = self._status
        self.writes[0x00] = self._control
        self.reads[0x04] = lambda: self._result

    def reset(self) -> None:
        self.kept.update(dict.fromkeys(self.kept, 0))

    def _control(self, value: int) -> None:
        self.kept[0x00] = value & ~(_START_ONCE | _READY)
        if value & _START_ONCE and value & _ENABLE:
            self._result = self.sample(value >> 12 & 15)
            self._ready_ns = self.core.now_ns + _CONVERSION_NS

    def _status(self) -> int:
        if self.core.now_ns < self._ready_ns:
            self.core.polls(self._ready_ns)
            return self.kept[0x00]
        return self.kept[0x00] | bool(self.kept[0x00] & _ENABLE) * _READY
