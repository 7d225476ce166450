"""Real-time clock and backup registers (RM0351, chapter 38): calendar, wake-up timer, protection.

The calendar counts within a day; dates stay as they were set. Alarms, time stamps, tamper pins and
calibration are kept as registers and do nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.registers import Registers
from tallystick.tools.second_opinion.stm32l4.clocks import Clocks

BASE = 0x40002800
_TR, _DR, _CR, _ISR, _PRER, _WUTR, _WPR, _SSR = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x24, 0x28
_BACKUP = range(0x50, 0xD0, 4)
_RESET = {
    _TR: 0, _DR: 0x2101, _CR: 0, _ISR: 0x7, _PRER: 0x7F00FF, _WUTR: 0xFFFF, 0x1C: 0, 0x20: 0,
    _WPR: 0, _SSR: 0, 0x2C: 0, 0x30: 0, 0x34: 0, 0x38: 0, 0x3C: 0, 0x40: 0, 0x44: 0, 0x48: 0,
    0x4C: 0, **dict.fromkeys(_BACKUP, 0),
}  # fmt: skip
_WUTE, _WUTIE = 1 << 10, 1 << 14
_WUTWF, _INITS, _RSF, _INITF, _INIT, _WUTF = 1 << 2, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 10
_DAY = 86_400


class Rtc(Registers):
    """`on_wakeup(level)` is the line of the wake-up timer. Reset with the backup domain only."""

    def __init__(self, core: Cortex, clocks: Clocks, open_: Callable[[], bool]) -> None:
        super().__init__(core, BASE, _RESET)
        self._clocks = clocks
        self._open = open_
        self.on_wakeup: Callable[[bool], None] = lambda level: None
        self._timer: Scheduled | None = None
        clocks.on_change.append(self._retime)
        self._hz = 0.0
        self.on_reset()

    def on_reset(self) -> None:
        self._keys = 0
        self._ticks = 0.0  # of RTCCLK since midnight …
        self._since_ns = self.core.now_ns  # … at this time
        self._arm()

    def _retime(self) -> None:
        """Its clock may have changed: it goes on from where it is."""
        if self._clocks.rtc != self._hz:
            self._ticks, self._since_ns = self._now(), self.core.now_ns
            self._hz = self._clocks.rtc
            self._arm()

    def _now(self) -> float:
        if self.values[_ISR] & _INIT:
            return self._ticks
        return self._ticks + (self.core.now_ns - self._since_ns) * self._hz / 1e9

    def _divided(self) -> tuple[int, int]:
        """(Ticks of a step of SSR, steps of a second)."""
        return (self.values[_PRER] >> 16 & 0x7F) + 1, (self.values[_PRER] & 0x7FFF) + 1

    def get(self, at: int) -> int:
        if at in (_TR, _SSR):
            step, steps = self._divided()
            seconds, part = divmod(int(self._now() / step), steps)
            if at == _SSR:
                return steps - 1 - part
            seconds %= _DAY
            return _bcd(seconds // 3600) << 16 | _bcd(seconds // 60 % 60) << 8 | _bcd(seconds % 60)
        if at == _ISR:
            value = self.values[at] | _RSF
            value |= 0 if self.values[_CR] & _WUTE else _WUTWF
            return value | (_INITF if value & _INIT else 0)
        return 0 if at == _WPR else self.values[at]

    def put(self, at: int, value: int) -> None:
        if not self._open():
            return
        if at == _WPR:
            good = self._keys < 2 and value & 0xFF == (0xCA, 0x53)[self._keys]
            self._keys = self._keys + 1 if good else 0
        elif at in _BACKUP or self._keys == 2:
            self._put(at, value)
        elif at == _ISR:  # its flags are not behind the keys
            self._status(value & ~_INIT | self.values[at] & _INIT)

    def _put(self, at: int, value: int) -> None:
        match at:
            case 0x00 if self.values[_ISR] & _INIT:
                seconds = _plain(value >> 16) * 3600 + _plain(value >> 8) * 60 + _plain(value)
                step, steps = self._divided()
                self._ticks, self._since_ns = float(seconds * step * steps), self.core.now_ns
            case 0x00 | 0x28:
                pass
            case 0x0C:
                self._status(value)
            case 0x08 | 0x14:
                if at == _WUTR and self.values[_CR] & _WUTE:
                    return
                self.values[at] = value
                self._arm()
            case _:
                self.values[at] = value
                if at == _DR and value >> 16 & 0xFF:
                    self.values[_ISR] |= _INITS

    def _status(self, value: int) -> None:
        """Flags are cleared by writing 0; INIT holds the calendar."""
        before = self.values[_ISR]
        if value & _INIT and not before & _INIT:
            self._ticks, self._since_ns = self._now(), self.core.now_ns
        elif before & _INIT and not value & _INIT:
            self._since_ns = self.core.now_ns
        self.values[_ISR] = before & ~_INIT & ~(~value & 0x3F00) | value & _INIT
        if before & _WUTF and not self.values[_ISR] & _WUTF:
            self.on_wakeup(False)

    # -- the wake-up timer ---------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.values[_CR] & _WUTE and self._hz:
            self._timer = self.core.after(self._period_ns(), self._wake)

    def _period_ns(self) -> float:
        source, count = self.values[_CR] & 7, (self.values[_WUTR] & 0xFFFF) + 1
        if source < 4:
            return count * (16 >> source) / self._hz * 1e9
        step, steps = self._divided()
        return (count + (0x10000 if source >= 6 else 0)) * step * steps / self._hz * 1e9

    def _wake(self) -> None:
        self.values[_ISR] |= _WUTF
        if self.values[_CR] & _WUTIE:
            self.on_wakeup(True)
        self._arm()


def _bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _plain(bcd: int) -> int:
    return (bcd >> 4 & 7) * 10 + (bcd & 15)
