"""Who judges: from outside, with what was seen on glass, asked of the server and answered by it.

Seeds are known from the station's custody as it makes them, and codes are worked out by another's
library (pyotp) than the firmware's or the server's."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pyotp

from tallystick.server.accounts.policy import FirmPolicy
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.locks import LockSeen
from tallystick.tools.campaign.firm.portal import IN, NO_ANSWER

ZONE = "Europe/Berlin"
_SHORTEST_S = 1800
_JUMP = 9  # docs/findings/powercuts.md: what a start skips at most
_AHEAD = 1500  # how far a code on the glass is looked for
_FIRST = 2  # the station compared two codes


def end_of_day(now: float) -> int:
    """When a loan for the day ends that is made now, in seconds since 1970: at six by the clocks on
    the firm's walls; within half an hour of that, on the day after."""
    walls = ZoneInfo(ZONE)
    end = datetime.fromtimestamp(now, walls).replace(hour=18, minute=0, second=0, microsecond=0)
    if end.timestamp() <= now + _SHORTEST_S:
        end = datetime.combine(end.date() + timedelta(days=1), end.time(), walls)
    return int(end.timestamp())


@dataclass
class CardSeen:
    """A card's half of the story. shown: the newest factor that was on its glass. lowest, highest:
    between which the server's factor is: an answer that was lost leaves a doubt. loose: how many
    codes it may skip, for its power was away."""

    serial: str
    seed: bytes = field(repr=False)
    shown: int = _FIRST - 1
    lowest: int = _FIRST
    highest: int = _FIRST
    loose: int = 0
    codes: dict[str, int] = field(default_factory=dict, repr=False)
    accepted: set[int] = field(default_factory=set)

    def code(self, factor: int) -> str:
        """Of this factor."""
        return pyotp.HOTP(base64.b32encode(self.seed).decode()).at(factor)

    def factor_of(self, code: str) -> int | None:
        """Of a code that may come next; None where it is none of those."""
        generator = pyotp.HOTP(base64.b32encode(self.seed).decode())
        for factor in range(self.shown + 1, self.shown + _AHEAD):
            if generator.at(factor) == code:
                return factor
        return None


class Judge:
    """Notes violations, each a sentence."""

    def __init__(self, policy: FirmPolicy) -> None:
        self._policy = policy
        self.cards: dict[str, CardSeen] = {}
        self.seeds: dict[str, bytes] = {}  # by whose they are
        self.shown: dict[str, bytes] = {}  # those of telephones, which a page shows once
        self._of_cards: dict[str, bytes] = {}
        self.violations: list[str] = []
        self.locks: dict[str, LockSeen] = {}
        self.entered: Counter[str] = Counter()
        self.perhaps_entered: Counter[str] = Counter()
        self.ended: set[str] = set()  # logins: barred, and the server has said so
        self.lost: set[str] = set()  # serials

    def violation(self, what: str) -> None:
        self.violations.append(what)

    def makes(self, serial: str, seed: bytes) -> None:
        """A station has made a seed for this card; it may make another before that is in service,
        and none of them may be told."""
        self._of_cards[serial] = seed
        before = sum(one.startswith(f"card {serial}") for one in self.seeds)
        again = f" ({before + 1})" if before else ""
        self.seeds[f"card {serial}{again}"] = seed

    def enrolled(self, login: str, secret: str) -> None:
        """A telephone. secret: as the page has shown it, in base 32."""
        name = f"{login}'s telephone {1 + len(self.shown)}"
        self.shown[name] = base64.b32decode(secret + "=" * (-len(secret) % 8))

    def registered(self, serial: str) -> None:
        """It is in service: its seed is the last that the station made for it."""
        self.cards[serial] = CardSeen(serial, self._of_cards[serial])

    def saw(self, serial: str, code: str) -> int | None:
        """A code on the glass. → its factor"""
        card = self.cards[serial]
        if code in card.codes and card.factor_of(code) is None:
            self.violation(f"card {serial} shows a code again (factor {card.codes[code]})")
            return None
        factor = card.factor_of(code)
        if factor is None:
            self.violation(f"card {serial} shows a code that is none of its next ones")
            return None
        skipped = factor - card.shown - 1
        if skipped > card.loose:
            self.violation(f"card {serial} skips {skipped} codes")
        card.shown, card.loose = factor, 0
        card.codes[code] = factor
        return factor

    def restarted(self, serial: str) -> None:
        """Its power was away: what it was about to show may be skipped, and some more."""
        if serial in self.cards:
            self.cards[serial].loose += _JUMP + 1

    def asked(self, serial: str, factor: int, said: ServerSaid) -> None:
        """The server was asked about a code that was on this card's glass."""
        card = self.cards[serial]
        if not said.asked:
            return
        if said.status == 0 or said.status >= 500:
            card.highest = max(card.highest, factor + 1)
            return
        if not said.accepted:
            return
        if said.serial != serial:
            self.violation(f"a code of card {serial} was accepted as one of {said.serial}")
        if factor in card.accepted or factor < card.lowest:
            self.violation(f"card {serial}: the code of factor {factor} was accepted twice")
        if factor - card.highest >= self._policy.look_ahead:
            self.violation(
                f"card {serial}: a code {factor - card.highest} ahead was accepted at once"
            )
        card.accepted.add(factor)
        card.lowest = card.highest = factor + 1

    def found_again(self, serial: str, factor: int, said: ServerSaid) -> None:
        """The server was asked with two successive codes; factor: of the second."""
        card = self.cards[serial]
        if not said.asked:
            return
        if said.status == 0 or said.status >= 500:
            card.highest = max(card.highest, factor + 1)
        elif said.accepted:
            if factor < card.lowest:
                self.violation(f"card {serial}: codes that were used found it again")
            card.lowest = card.highest = factor + 1

    def used_at_the_desk(self, serial: str, factor: int, *, codes: int = 1) -> None:
        """The desk proved with this code that it has the card, or with as many in a row. Which of
        them are within its window is as with any other service."""
        card = self.cards[serial]
        if factor < card.lowest:
            self.violation(f"card {serial}: a code that was used proved it at the desk")
        window = self._policy.look_ahead if codes == 1 else self._policy.desk_resync_window + 1
        window += 0 if codes == 1 else self._policy.look_ahead
        if factor - card.highest >= window:
            ahead = factor - card.highest
            self.violation(f"card {serial}: a code {ahead} ahead was enough at the desk")
        card.lowest = card.highest = factor + 1

    def perhaps_used(self, serial: str, factor: int) -> None:
        """The desk was refused, or not answered."""
        card = self.cards[serial]
        card.highest = max(card.highest, factor + 1)

    def guessed(self, card: CardSeen, code: str) -> bool:
        """Whether a stranger's code is by chance one that the card shows next. It is used then."""
        window = range(card.lowest, card.highest + self._policy.look_ahead + 1)
        generator = pyotp.HOTP(base64.b32encode(card.seed).decode())
        for factor in window:
            if generator.at(factor) == code:
                card.lowest = card.highest = factor + 1
                return True
        return False

    def locks_of(self, serial: str) -> LockSeen:
        return self.locks.setdefault(serial, LockSeen())

    def answered(self, serial: str, said: ServerSaid, now: float) -> None:
        """The server was asked about a code of a login whose only factor is this card. now: by the
        server's clock"""
        wrong = self.locks_of(serial).after(said, self._policy, now)
        if wrong is not None:
            self.violation(f"card {serial} {wrong}")

    def touched(self, serial: str) -> None:
        """Something else than a service's question may have counted as a guess, or made it good."""
        self.locks_of(serial).sure = False

    def came_in(self, login: str, said: str, *, factors: tuple[bool, bool]) -> None:
        """Somebody was at the portal as this person. said: "in", or why not. factors: whether the
        password was right, and whether the second factor was its own."""
        if said == IN:
            self.entered[login] += 1
            if not all(factors):
                lacks = "the password" if not factors[0] else "the second factor"
                self.violation(f"the portal let somebody in as {login} without {lacks}")
        elif said == NO_ANSWER and all(factors):
            self.perhaps_entered[login] += 1

    def must_be_let_in(self, serial: str, factor: int) -> bool:
        """Whether an honest user's code has to be accepted at once."""
        card = self.cards[serial]
        return factor >= card.highest and factor - card.lowest < self._policy.look_ahead

    def must_be_found(self, serial: str, factor: int, window: int) -> bool:
        """Whether two successive codes, the second of this factor, must find the card again."""
        card = self.cards[serial]
        return factor - 1 >= card.highest and factor - card.lowest < window
