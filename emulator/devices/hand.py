"""The person at a reader: presses named fingers on its sensor, in ways that people do."""

from __future__ import annotations

from functools import cache

import numpy as np

from tallystick.emulator.clock import Clock
from tallystick.emulator.fingerprints.fingers import BEHAVIOURS, FINGERS, behaviour, finger
from tallystick.emulator.fingerprints.impression import Press
from tallystick.emulator.fingerprints.master import Master
from tallystick.emulator.parts.r503 import R503

__all__ = ["BEHAVIOURS", "FINGERS", "Hand"]

PRESS_MS = 900
_CHANGE_US = 150_000  # between lifting one finger and laying down the next
_KNUCKLE = Press(contact=0.15)  # felt, but shows next to no ridges


@cache
def _master(name: str, person: int) -> Master:
    return finger(name, person)


class Hand:
    """Times are of the virtual clock. A new press lifts what lies there."""

    def __init__(self, clock: Clock, sensor: R503, seed: int = 0) -> None:
        self._clock = clock
        self._sensor = sensor
        self._rng = np.random.default_rng((0x4A2D, seed))
        self._presses = 0
        self.down: str | None = None  # the finger that lies on the sensor

    def press(
        self, name: str, *, person: int = 0, manner: str = "usual", ms: int | None = None,
        after_ms: float = 0,
    ) -> None:  # fmt: skip
        """Presses a finger for `ms`. Raises BadInputError for a finger or a manner there is not."""
        how = behaviour(manner)
        master = _master(name, person)
        press = how.press(self._rng, master.traits)
        self._lay(name, master, press, how.creep_ms, ms or how.ms or PRESS_MS, after_ms)

    def touch(self, ms: int = PRESS_MS, after_ms: float = 0) -> None:
        """Touches the sensor with a knuckle: present, but nobody's print."""
        self._lay("knuckle", _master(FINGERS[0], 99), _KNUCKLE, 0, ms, after_ms)

    def lift(self) -> None:
        self._presses += 1
        self.down = None
        self._sensor.lift()

    def _lay(
        self, name: str, master: Master, press: Press, creep_ms: int, ms: int, after_ms: float
    ) -> None:
        busy = self.down is not None
        self.lift()
        number = self._presses

        def begin() -> None:
            if self._presses == number:
                self.down = name
                self._sensor.present(master, press, creep_ms=creep_ms)

        def end() -> None:
            if self._presses == number:
                self.lift()

        start_us = max(_CHANGE_US if busy else 1, round(after_ms * 1000))
        self._clock.after(start_us, begin)
        self._clock.after(start_us + ms * 1000, end)
