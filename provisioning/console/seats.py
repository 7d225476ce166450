"""Who is at the desk of one browser. Somebody gives her own credential once, with a short PIN of
her choice; from then on two keystrokes and the PIN bring her back. One person at a time is at work,
and nobody once the desk was left alone for a while. All of it is in memory only."""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.common import chance, moments
from tallystick.common.errors import BadInputError
from tallystick.provisioning.desk.client import Desk, Operator

IDLE_S = 5 * 60
TRIES = 5
PIN_LENGTHS = range(4, 9)
MAX_SEATS = 9  # each has a key of its own on the keyboard
_COST = {"n": 2**12, "r": 8, "p": 1}


@dataclass
class Seat:
    """Somebody who may come to work here."""

    who: Operator
    desk: Desk = field(repr=False)
    salt: bytes = field(repr=False)
    pin: bytes = field(repr=False)
    tries: int = TRIES


class Seats:
    """At most one of them is at work."""

    def __init__(self, now: Callable[[], float] = moments.steady) -> None:
        self._now = now
        self._seats: list[Seat] = []
        self._at_work: Seat | None = None
        self._used = 0.0

    @property
    def people(self) -> tuple[Seat, ...]:
        return tuple(self._seats)

    def at_work(self) -> Seat | None:
        """None also once nobody did anything for a while."""
        if self._at_work is not None and self._now() - self._used > IDLE_S:
            self._at_work = None
        return self._at_work

    def touch(self) -> None:
        """Somebody does something."""
        if self.at_work() is not None:
            self._used = self._now()

    def take(self, desk: Desk, who: Operator, pin: str) -> Seat:
        """Come to work with a credential. The same credential again gets a new PIN. Raises
        BadInputError for a PIN that is none, or where every seat is taken."""
        check_pin(pin)
        salt = chance.token_bytes(16)
        others = [seat for seat in self._seats if seat.who.id != who.id]
        if len(others) >= MAX_SEATS:
            raise BadInputError(
                f"{MAX_SEATS} people are at this desk already.",
                kept="Nothing was changed.",
                todo="Have one of them leave it.",
            )
        for old in self._seats:
            if old.who.id == who.id and old.desk is not desk:
                old.desk.close()
        seat = Seat(who, desk, salt, _digest(pin, salt))
        self._seats = [*others, seat]
        self._at_work, self._used = seat, self._now()
        return seat

    def enter(self, number: int, pin: str) -> Seat:
        """Back to work, by one's number (from 0) and PIN. Five wrong ones, and the credential is
        forgotten. Raises BadInputError."""
        self.lock()
        if not 0 <= number < len(self._seats):
            raise BadInputError("Nobody has this number here.", kept="Nothing was changed.")
        seat = self._seats[number]
        if hmac.compare_digest(_digest(pin.strip(), seat.salt), seat.pin):
            seat.tries = TRIES
            self._at_work, self._used = seat, self._now()
            return seat
        seat.tries -= 1
        if not seat.tries:
            self.leave(seat)
            raise BadInputError(
                f"That was the last wrong PIN of {seat.who.name}.",
                kept="That credential was forgotten here.",
                todo="Sign in with it again.",
            )
        left = f"{seat.tries} tries are" if seat.tries > 1 else "One try is"
        raise BadInputError(
            f"That is not the PIN of {seat.who.name}.", kept=f"{left} left.", todo="Type it again."
        )

    def lock(self) -> None:
        """Nobody is at work."""
        self._at_work = None

    def leave(self, seat: Seat) -> None:
        """Forget a credential."""
        if self._at_work is seat:
            self._at_work = None
        self._seats = [one for one in self._seats if one is not seat]
        seat.desk.close()

    def close(self) -> None:
        for seat in self.people:
            self.leave(seat)


def check_pin(pin: str) -> None:
    """Raises BadInputError for one that is no PIN, or that anybody would try first."""
    steps = {ord(b) - ord(a) for a, b in itertools.pairwise(pin)}
    easy = len(steps) == 1 and steps <= {0, 1, -1}
    if not (pin.isascii() and pin.isdigit() and len(pin) in PIN_LENGTHS) or easy:
        raise BadInputError(
            "A PIN has 4 to 8 digits, and is none like 1111 or 1234.",
            kept="Nobody was signed in.",
            todo="Choose another one.",
        )


def _digest(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, dklen=32, **_COST)
