"""Who may see the console: a browser that gave the pass which this process showed in its terminal.

A pass serves once, for ten minutes and five guesses. The browser then has a session, which ends by
itself when nobody does anything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.common import chance, moments
from tallystick.provisioning.console.seats import IDLE_S as SEAT_IDLE_S
from tallystick.provisioning.console.seats import Seats

ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # nothing that looks like something else
PASS_LENGTH = 8  # 39 bits, and five guesses
PASS_LIFE_S = 600
GUESSES = 5
IDLE_S = 30 * 60
SESSION_S = 12 * 3600


Signing = tuple[str, str, bytes, int]
"""A signing in in the terminal: URL, id, token, and when its file was written."""


@dataclass
class KeptSeat:
    """The credential kept on this computer has no PIN. Left alone for a while, or put aside by F2,
    it is locked in this browser until somebody signs in in the terminal again."""

    signing: Signing | None = None
    used: float = 0.0
    locked: Signing | None = None

    def open(self, signing: Signing, now: float) -> bool:
        """Whether this one may be used now."""
        if signing == self.locked:
            return False
        if signing != self.signing:
            self.signing, self.used = signing, now
        elif now - self.used > SEAT_IDLE_S:
            self.lock()
            return False
        return True

    def touch(self, now: float) -> None:
        """Somebody does something."""
        if self.signing is not None and now - self.used <= SEAT_IDLE_S:
            self.used = now

    def lock(self) -> None:
        self.locked = self.signing


@dataclass
class BrowserSession:
    """One browser. seats: who gave a credential here. asked: somebody wants to give one, in place
    of the one that is kept on this computer. kept: whether that one may still be used here."""

    began: float
    used: float
    seats: Seats = field(default_factory=Seats, repr=False)
    asked: bool = False
    over: bool = False
    kept: KeptSeat = field(default_factory=KeptSeat, repr=False)


class Gate:
    """show: puts a new pass before the person at the terminal."""

    def __init__(
        self, show: Callable[[str], None], now: Callable[[], float] = moments.steady
    ) -> None:
        self._show = show
        self._now = now
        self._pass = ""
        self._until = 0.0
        self._guesses = 0
        self._sessions: dict[bytes, BrowserSession] = {}

    def offer(self) -> None:
        """Have a pass that serves: the one shown last, or a new one."""
        if self._pass and self._now() < self._until:
            return
        letters = "".join(chance.choice(ALPHABET) for _ in range(PASS_LENGTH))
        self._pass, self._guesses = letters, 0
        self._until = self._now() + PASS_LIFE_S
        self._show(f"{letters[:4]}-{letters[4:]}")

    def enter(self, text: str) -> str | None:
        """The token of a new session for the right pass. Wrong ones use the pass up."""
        given = "".join(sign for sign in text.upper() if sign.isalnum())
        right = bool(self._pass) and self._now() < self._until
        right &= hmac.compare_digest(given.encode(), self._pass.encode())
        self._guesses += 1
        if right or self._guesses >= GUESSES:
            self._pass = ""
        if not right:
            return None
        token = chance.token_urlsafe(32)
        now = self._now()
        self._sessions[_digest(token)] = BrowserSession(now, now, Seats(self._now))
        return token

    def session(self, token: str | None) -> BrowserSession | None:
        """The live session of a token."""
        session = self._sessions.get(_digest(token)) if token else None
        if session is None or self.ended(session):
            return None
        return session

    def touch(self, session: BrowserSession) -> bool:
        """A person did something: the session lives on. False when it is over."""
        if self.ended(session):
            return False
        session.used = self._now()
        session.seats.touch()
        session.kept.touch(session.used)
        return True

    @property
    def now(self) -> float:
        """Of the clock that sessions end by."""
        return self._now()

    def ended(self, session: BrowserSession) -> bool:
        """Whether it is over; what it held is then forgotten."""
        now = self._now()
        if session.over or now - session.used > IDLE_S or now - session.began > SESSION_S:
            self.leave(session)
        return session.over

    def leave(self, session: BrowserSession) -> None:
        session.over = True
        session.seats.close()
        self._sessions = {key: one for key, one in self._sessions.items() if one is not session}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
