"""A push-button between a pin and ground or the supply, which bounces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.emulator.parts.button import Button
from tallystick.emulator.parts.part import Bench, BoardPart

_PRESS_MS = 120


class PushButton(BoardPart):
    """active: the level while pressed; not pressed it drives nothing, so that the pin's pull
    decides. bounce_us: for how long its contact bounces, at most."""

    kind = "button"

    button: Button

    def __init__(self, pin: str | int, active: int = 0, bounce_us: int = 3000) -> None:
        self._pin, self._active, self._bounce_us = pin, active, bounce_us

    def wire(self, bench: Bench) -> None:
        pin = bench.pin(self._pin)
        self._bench = bench
        self.button = Button(
            bench.clock, bench.random,
            lambda closed: bench.drive(pin, self._active if closed else None), self._bounce_us,
        )  # fmt: skip

    def state(self) -> Mapping[str, Any]:
        return {"down": self.button.down}

    def do(self, action: str, value: Any = None) -> None:
        """press (for `value` ms of virtual time, 120 unless told), down, up."""
        if action == "press":
            self.button.push()
            ms = int(value) if value is not None else _PRESS_MS
            self._bench.clock.after(ms * 1000, self.button.release)
        elif action == "down":
            self.button.push()
        elif action == "up":
            self.button.release()
        else:
            raise self.unknown(action)
