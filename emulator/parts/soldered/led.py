"""An LED with its resistor, between a pin and ground or a pin and the supply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.emulator.parts.part import Bench, BoardPart


class Led(BoardPart):
    """pin: as `Bench.pin` takes it. active: the level at which it is lit. ma: its current then.

    changes: how often it went on or off. on_us: how long it has been lit, all in all.
    """

    kind = "led"

    def __init__(self, pin: str | int, active: int = 1, ma: float = 2.0) -> None:
        self._pin, self._active, self._ua = pin, active, ma * 1000
        self.lit = False
        self.changes = 0
        self._lit_us = self._since = 0

    def wire(self, bench: Bench) -> None:
        self._bench = bench
        self._number = bench.pin(self._pin)
        bench.listen(self._number, self._level)

    def _level(self, level: int | None) -> None:
        lit = self._powered and level == self._active
        if lit == self.lit:
            return
        now = self._bench.clock.now
        self._lit_us += now - self._since if self.lit else 0
        self._since = now
        self.lit = lit
        self.changes += 1
        self._bench.load(self._ua if lit else 0.0)

    _powered = False

    def power(self, on: bool) -> None:
        if not on:
            self._level(None)
        self._powered = on

    @property
    def on_us(self) -> int:
        return self._lit_us + (self._bench.clock.now - self._since if self.lit else 0)

    def state(self) -> Mapping[str, Any]:
        duty = self._bench.duty(self._number)
        seen = {"lit": self.lit, "changes": self.changes, "on_ms": self.on_us // 1000}
        if duty is None:
            return seen
        bright = duty if self._active else 1 - duty
        return seen | {"lit": bright > 0, "brightness": round(bright, 3)}
