"""The panel of one card: who holds the card, how fast time goes, which browser may look."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from tallystick.common.paths import cache_folder
from tallystick.emulator.devices.card import Card
from tallystick.emulator.panel.meter import Meter

TICK_S = 0.1  # between two looks of a browser
_TOKEN = 20  # characters, at least
_T = TypeVar("_T")


def kept_token() -> str:
    """This user's, for every panel on this computer: a page that is open, and a bookmark, are let
    in again after a restart. In a file that nobody else may read."""
    path = cache_folder() / "panel-token"
    try:
        kept = path.read_text(encoding="ascii").strip()
        private = path.stat().st_uid == os.getuid() and not path.stat().st_mode & 0o077
        if private and len(kept) >= _TOKEN:
            return kept
    except (OSError, UnicodeDecodeError):
        kept = ""
    token = secrets.token_urlsafe(16)
    with contextlib.suppress(OSError):  # it holds for this start then
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(f"{token}\n".encode())
        part.replace(path)
    return token


class TimeLine(Protocol):
    """The life of a card so far. Times are virtual, µs."""

    @property
    def now_us(self) -> int:
        """The instant that is shown."""

    @property
    def start_us(self) -> int:
        """The first one that can be shown."""

    @property
    def end_us(self) -> int:
        """The last one that there was."""

    @property
    def past(self) -> bool:
        """The one that is shown is not the last. What is done there makes another future."""

    def go_to(self, time_us: int) -> None:
        """Shows the card as it was then."""


class Holder(Protocol):
    """Who holds the card that a panel shows, and lets others reach it."""

    card: Card
    noise: float  # part of the bytes to the card that arrive changed

    @property
    def flowing(self) -> bool:
        """Virtual time goes on with real time."""

    def call(self, action: Callable[[Card], _T]) -> _T:
        """Something is done to the card, in its own thread or process: a function of a module, with
        its arguments. Returns what it returns or raises."""

    def look(self, action: Callable[[Card], _T]) -> _T:
        """Likewise, of what changes nothing."""

    def pass_time(self, ms: float) -> None:
        """Virtual time passes."""

    @property
    def line(self) -> TimeLine | None:
        """None where the card cannot be gone back with."""


class Panel:
    """What its pages share. `path` carries the token that lets a browser in."""

    def __init__(self, service: Holder, serial: str) -> None:
        self.service = service
        self.serial = serial
        self.token = kept_token()
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
