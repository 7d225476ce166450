"""What the commands of an R503 work on: its flash, its clock, the finger on it, its matcher."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from tallystick.emulator.clock import Clock
from tallystick.emulator.fingerprints.impression import Pixels, Press, impression
from tallystick.emulator.fingerprints.master import Master
from tallystick.emulator.fingerprints.matcher import Matcher, shared_matcher
from tallystick.emulator.parts.r503_flash import SensorFlash


class Resting:
    """A finger on the sensor. `image` is the same for as long as it stays."""

    def __init__(self, master: Master, press: Press, landed_us: int, seed: int) -> None:
        self.master = master
        self.press = press
        self.landed_us = landed_us  # skin meets glass
        self._seed = seed
        self._image: Pixels | None = None

    def image(self) -> Pixels:
        if self._image is None:
            rng = np.random.default_rng(self._seed)
            self._image = impression(self.master, self.press, rng)
        return self._image


class SensorState:
    """Outlives a power-up, but for `finger` and `touch`, which the world outside decides.

    restart: SoftReset, as after power-on. matcher: made when it is first needed, unless given.
    """

    def __init__(
        self,
        clock: Clock,
        flash: SensorFlash | None,
        matcher: Matcher | None,
        seed: int,
        restart: Callable[[], None],
        *,
        test_mode: bool,
    ) -> None:
        self.clock = clock
        self.flash = flash if flash is not None else SensorFlash()
        self.random = random.Random(seed)
        self.restart = restart
        self.test_mode = test_mode
        self.finger: Resting | None = None
        self.touch = False
        self._matcher = matcher

    @property
    def matcher(self) -> Matcher:
        return self._matcher if self._matcher is not None else shared_matcher()
