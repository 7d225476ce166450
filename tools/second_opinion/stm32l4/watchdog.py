"""Independent watchdog (RM0351, chapter 36): once started it runs, in Stop and Standby too."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.second_opinion.cortex import Cortex, Scheduled
from tallystick.tools.second_opinion.registers import Registers
from tallystick.tools.second_opinion.stm32l4.clocks import LSI_HZ

BASE = 0x40003000
_KR, _PR, _RLR, _SR, _WINR = range(0, 0x14, 4)
_OPEN, _RELOAD, _START = 0x5555, 0xAAAA, 0xCCCC


class Watchdog(Registers):
    """`on_bite` is called when it was not fed in time."""

    def __init__(self, core: Cortex, on_bite: Callable[[], None]) -> None:
        super().__init__(core, BASE, {_KR: 0, _PR: 0, _RLR: 0xFFF, _SR: 0, _WINR: 0xFFF})
        self._on_bite = on_bite
        self._event: Scheduled | None = None
        self._open = self._runs = False

    def on_reset(self) -> None:
        self._open = self._runs = False
        self._feed()

    def put(self, at: int, value: int) -> None:
        if at == _KR:
            self._open = value == _OPEN
            self._runs |= value == _START
            if value in (_RELOAD, _START):
                self._feed()
        elif at != _SR and self._open:
            self.values[at] = value & 0xFFF

    def get(self, at: int) -> int:
        return 0 if at in (_KR, _SR) else self.values[at]

    def _feed(self) -> None:
        if self._event is not None:
            self._event.cancel()
            self._event = None
        if self._runs:
            ticks = (self.values[_RLR] + 1) * (4 << min(self.values[_PR] & 7, 6))
            self._event = self.core.after(ticks / LSI_HZ * 1e9, self._on_bite)
