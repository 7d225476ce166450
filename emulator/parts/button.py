"""A push-button: a level on a pin, with contact bounce."""

from __future__ import annotations

import random
from collections.abc import Callable

from tallystick.emulator.clock import Clock


class Button:
    """`on_level` gets 1 while the contact is closed. A press bounces for up to `bounce_us`."""

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        on_level: Callable[[int], None],
        bounce_us: int = 3000,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._on_level = on_level
        self.bounce_us = bounce_us
        self.down = False  # a finger is on it
        self.closed = False  # the contact, which bounces

    def reseed(self, rng: random.Random) -> None:
        """From now on it bounces as `rng` says."""
        self._rng = rng

    def push(self) -> None:
        """Down, with bounce. Nothing happens when it is down already."""
        if not self.down:
            self.down = True
            self._settle(1)

    def release(self) -> None:
        """Up, with bounce. Nothing happens when it is up already."""
        if self.down:
            self.down = False
            self._settle(0)

    def _settle(self, level: int) -> None:
        at = self._clock.now
        if self.bounce_us:
            edges = sorted(
                self._rng.randrange(self.bounce_us) for _ in range(2 * self._rng.randrange(3))
            )
            for k, offset in enumerate(edges):
                self._schedule(at + offset, level if k % 2 == 0 else 1 - level)
        self._schedule(at + self.bounce_us, level)

    def _schedule(self, at: int, level: int) -> None:
        self._clock.at(at, lambda: self._set(level))

    def _set(self, level: int) -> None:
        self.closed = bool(level)
        self._on_level(level)
