"""The panel of one card: who holds the card, how fast time goes, which browser may look."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from tallystick.emulator.devices.card import Card
from tallystick.emulator.panel.meter import Meter

TICK_S = 0.1  # between two looks of a browser
_T = TypeVar("_T")


class Holder(Protocol):
    """Who holds the card that a panel shows, and lets others reach it."""

    card: Card
    noise: float  # part of the bytes to the card that arrive changed

    @property
    def flowing(self) -> bool:
        """Virtual time goes on with real time."""

    def call(self, action: Callable[[Card], _T]) -> _T:
        """Runs `action(card)` in the card's own thread; returns what it returns or raises."""


class Panel:
    """What its pages share. `path` carries the token that lets a browser in."""

    def __init__(self, service: Holder, serial: str) -> None:
        self.service = service
        self.serial = serial
        self.token = secrets.token_urlsafe(16)
        self.meter = Meter()
        self.speed = 1  # virtual seconds a second; 0 is paused
        self._looked_at = time.monotonic()
        service.card.attach(self.meter)

    @property
    def path(self) -> str:
        return f"/panel?token={self.token}"

    def due_ms(self) -> float:
        """Virtual time since a browser last looked, at most a tick's. Each of several windows, and
        one that was closed a moment ago, passes its part of it: none makes time go faster."""
        before, self._looked_at = self._looked_at, time.monotonic()
        return 1000 * self.speed * min(TICK_S, self._looked_at - before)
