"""TIMER0 and TIMER1: microseconds, four alarms each (RP2350 data sheet, 12.8)."""

from __future__ import annotations

from functools import partial

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.rp2350.registers import WORD, RegisterBlock

_ALARMS = range(4)


class Timer(RegisterBlock):
    """`irq` is the first of its four lines."""

    def __init__(self, core: Cortex, name: str, irq: int) -> None:
        super().__init__(core, name, {0x2C: 7, 0x30: 0, 0x34: 0, 0x38: 0, 0x40: 0, 0x44: 0})
        self._irq = irq
        self._latched = 0
        self._raw = 0
        self._alarms: list[Scheduled | None] = [None] * 4
        self.reset()
        self.reads[0x08] = lambda: self._latched
        self.reads[0x0C] = self._low
        self.reads[0x24] = lambda: self.now_us >> 32
        self.reads[0x28] = lambda: self.now_us
        self.reads[0x20] = lambda: sum(1 << n for n in _ALARMS if self._alarms[n] is not None)
        self.writes[0x20] = self._disarm
        for n in _ALARMS:
            self.kept[0x10 + 4 * n] = 0
            self.writes[0x10 + 4 * n] = partial(self._arm, n)
        self.reads[0x3C] = lambda: self._raw
        self.writes[0x3C] = self._acknowledge
        self.reads[0x48] = self._status
        self.writes[0x40] = self.writes[0x44] = lambda _value: self._lines()

    def reset(self) -> None:
        self._from_ns = self.core.now_ns
        self._raw = 0
        self._disarm(15)
        self.kept[0x40] = self.kept[0x44] = 0
        self._lines()

    @property
    def now_us(self) -> int:
        return int((self.core.now_ns - self._from_ns) / 1000)

    def _low(self) -> int:
        now = self.now_us
        self._latched = now >> 32
        return now & WORD

    def _arm(self, n: int, value: int) -> None:
        """Fires when the low word of the time is `value`."""
        self._disarm(1 << n)
        wait_us = (value - self.now_us) & WORD
        at_us = self.now_us + wait_us
        self._alarms[n] = self.core.after(
            self._from_ns + at_us * 1000 - self.core.now_ns, lambda: self._fire(n)
        )

    def _disarm(self, which: int) -> None:
        for n in _ALARMS:
            alarm = self._alarms[n]
            if which >> n & 1 and alarm is not None:
                alarm.cancel()
                self._alarms[n] = None

    def _fire(self, n: int) -> None:
        self._alarms[n] = None
        self._raw |= 1 << n
        self._lines()

    def _acknowledge(self, value: int) -> None:
        self._raw &= ~value
        self._lines()

    def _status(self) -> int:
        return (self._raw | self.kept[0x44]) & self.kept[0x40]

    def _lines(self) -> None:
        for n in _ALARMS:
            self.core.nvic.line(self._irq + n, bool(self._status() >> n & 1))
