"""What will happen, drawn from a seed before anything does: who does what when, and what goes wrong
at which instant. A script is a list, so a shorter one is a part of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

DAY_S = 86_400
READERS_AT = 4 * 3600  # when the first is enrolled
CHANGE_DAY = 6  # the clocks go forward in its first hours
_WORKDAYS = 5
SPARE_OF = 10  # one card in so many is a spare


class Level(StrEnum):
    """How much goes wrong."""

    NONE = "none"
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


_MISHAPS = {Level.NONE: 1, Level.LOW: 1, Level.NORMAL: 1, Level.HIGH: 8}
"""How often cards are forgotten and lost, people leave and strangers come, against the usual."""
_FAULTS_PER_100_CARD_DAYS = {Level.NONE: 0.0, Level.LOW: 1.0, Level.NORMAL: 5.0, Level.HIGH: 25.0}


class Verb(StrEnum):
    """What an act is."""

    PROVISION = "provision"
    LOG_IN = "log-in"
    PRESS = "press"  # by accident, in a wallet
    BORROW = "borrow"  # the card is at home: a spare for the day
    GIVE_BACK = "give-back"
    LOSE = "lose"
    LEAVE = "leave"  # the firm
    JOIN = "join"
    GUESS = "guess"  # a stranger, who knows a login
    REPLAY = "replay"  # a stranger, who has seen a code
    THIEF = "thief"  # has a card that was lost
    LATE = "late"  # a loan is over, and the card still in the pocket
    ENROL_READER = "enrol-reader"
    THUMB = "thumb"  # a log-in at the portal
    STRANGE_THUMB = "strange-thumb"
    CLONE = "clone"  # a station that has no right
    COPY = "copy"  # of a card's flash
    PHONE = "phone"  # an app is enrolled at the portal
    PORTAL = "portal"  # a log-in there, with it
    FORGET_PHONE = "forget-phone"  # it lies at home for the day
    RECOVER = "recover"  # a password was forgotten, and the card proves who it is
    CALL = "call"  # the help desk: password and telephone are gone
    FALSE_CALL = "false-call"  # a stranger calls the help desk
    PHISH = "phish"  # a stranger, who has the password
    SHIFT = "shift"  # other staff at the station and the desk
    SWEEP = "sweep"  # what the server does by and by
    RACE = "race"  # a stranger types what somebody types, at the same instant


class Mishap(StrEnum):
    """What goes wrong."""

    CUT = "cut"  # the card's power, at a write to its flash in the next press
    READER_CUT = "reader-cut"  # a reader's power, at a write to its flash in the next use
    DOCK_CUT = "dock-cut"  # the same while a card is made
    CELL = "cell"  # the cell is taken out and put in again
    SERVER_ENDS = "server-ends"  # at a commit, and is there again at once
    SERVER_AWAY = "server-away"  # the same, and it is there again after a while
    ANSWER_LOST = "answer-lost"  # of the server, which has done what was asked
    NETWORK_LOST = "network-lost"  # of the station, the desk, …: for a while
    STATION_ENDS = "station-ends"  # at a command, a request or a journal's write
    LINE = "line"  # drops, doubles and corrupts
    DISK_FULL = "disk-full"
    DISK_READ_ONLY = "disk-read-only"
    STATION_DISK = "station-disk"  # is full, while a card is made
    DATABASE_LOST = "database-lost"  # the connection, at a statement
    DATABASE_GONE = "database-gone"  # for a while
    CLOCK = "clock"  # the server's is wrong for hours
    STATION_CLOCK = "station-clock"  # the same of the stations'
    PHONE_CLOCK = "phone-clock"  # of a telephone
    DEAD = "dead"  # the cell has nothing left
    AIMED = "aimed"  # the server, at one request that changes something


_OF_THE_HOUSE = frozenset(
    {
        Mishap.DISK_FULL, Mishap.DISK_READ_ONLY, Mishap.CLOCK, Mishap.STATION_CLOCK,
        Mishap.SERVER_AWAY, Mishap.NETWORK_LOST, Mishap.DATABASE_GONE,
    }
)  # fmt: skip
_WHILE_MADE = frozenset({Mishap.STATION_ENDS, Mishap.LINE, Mishap.STATION_DISK, Mishap.DOCK_CUT})
_NOW_AND_THEN = frozenset(
    {
        Mishap.SERVER_ENDS, Mishap.DATABASE_LOST, Mishap.SERVER_AWAY, Mishap.ANSWER_LOST,
        Mishap.NETWORK_LOST,
    }
)  # fmt: skip
"""Every other one while cards are made."""
_RARE = frozenset(
    {
        Verb.BORROW, Verb.GIVE_BACK, Verb.LOSE, Verb.RECOVER, Verb.CALL, Verb.PHONE, Verb.LEAVE,
        Verb.JOIN,
    }
)  # fmt: skip
_AT_A_REQUEST = frozenset({Mishap.SERVER_ENDS, Mishap.SERVER_AWAY, Mishap.ANSWER_LOST})
_AT_RARE = 2 / 3
"""How many of these come just before what is seldom done, and strike its first request."""
AIMED_AT = (
    ("POST /v1/cards", True),
    ("PUT /v1/cards/[^/]+/assignment", True),
    ("POST /v1/keys", True),
    ("POST /v1/cards/[^/]+/assignment", False),
    ("POST /v1/cards/[^/]+/loan", False),
    ("POST /v1/cards/[^/]+/return", False),
    ("POST /v1/cards/[^/]+/replacement", False),
    ("POST /v1/cards/[^/]+/retirement", False),
    ("PUT /v1/cards/[^/]+/status", False),
    ("POST /v1/verify", False),
    ("POST /v1/resynchronise", False),
    ("POST /scim/v2/Users", False),
    ("PATCH /scim/v2/Users/.*", False),
    ("PATCH /v1/people/.*", False),
    ("POST /v1/people/import", False),
    ("POST /p/default/enrol/totp/.*", True),
    ("POST /p/default/second/.*", False),
    ("POST /p/default/recover/reset", False),
    ("POST /p/default/people/.*/help/.*", False),
)
"""Requests that change something, as patterns; and whether they are made on the first morning."""
_AIMED_EACH = 2
_BEFALLEN = 5  # of so many readers one loses its power, and one its station, when it is enrolled
_READER_STEPS = 12  # requests and journal's writes that enrolling one takes
_OFTEN = {
    Mishap.CUT: 8, Mishap.READER_CUT: 2, Mishap.DOCK_CUT: 2, Mishap.CELL: 2, Mishap.SERVER_ENDS: 4,
    Mishap.STATION_ENDS: 3, Mishap.LINE: 3, Mishap.DATABASE_LOST: 3, Mishap.ANSWER_LOST: 4,
}  # fmt: skip
_SPARE = 1 / 3
_ENOUGH = 7  # people, for one of each kind
_DOZEN, _SPARES = 11, 4  # beyond so many cards there are so many spares at least
_EACH = 2  # of each kind at least so many: one while cards are made, one later
_DRAWN = tuple(kind for kind in Mishap if kind is not Mishap.AIMED)
IN_A_WALLET = (1, 1, 2, 3, 9, 10, 14)
"""How often a card is pressed there: the server's window is ten."""
_APART_DAYS = 5  # about so many days pass from one of these to the next of its kind


@dataclass(frozen=True, order=True)
class FirmAct:
    """at: seconds since the first midnight. who: number of a person, a card or a station. number:
    of the act in the whole script; draw: what it draws from."""

    at: int
    number: int
    what: str
    who: int = 0
    draw: int = 0

    def __str__(self) -> str:
        return f"{self.number}"


@dataclass(frozen=True)
class SimulatedFirm:
    """How large it is, how long it is looked at, and how much goes wrong."""

    cards: int = 20
    readers: int = 0
    days: int = 7
    level: Level = Level.NORMAL
    seed: int = 1

    @property
    def spares(self) -> int:
        least = _SPARES if self.cards > _DOZEN else 1
        return max(least, self.cards // SPARE_OF) if self.cards > 1 else 0

    @property
    def people(self) -> int:
        """Who have a card."""
        return self.cards - self.spares

    @property
    def from_the_first_day(self) -> int:
        """How many people are there then; the others join later: a tenth, and two where there are
        enough, one for the directory and one for a list."""
        later = self.people // 10
        return self.people - (max(later, 2) if self.people > _ENOUGH else later)

    @property
    def with_readers(self) -> int:
        """Not more than there are people from the first day on."""
        return min(self.readers, self.from_the_first_day)

    @property
    def with_phones(self) -> range:
        """Every tenth of those who have no reader has a password and a telephone."""
        return range(self.with_readers, self.from_the_first_day, 10)


def script(firm: SimulatedFirm) -> list[FirmAct]:
    """In the order of time."""
    streams = (
        _provisioning(firm),
        _reading(firm),
        _working(firm),
        _in_wallets(firm),
        _calling(firm),
        _staff(firm),
        _strangers(firm),
    )
    planned = sorted(one for stream in streams for one in stream)
    planned = sorted((*planned, *_surely(firm, Counter(what for _, what, *_ in planned))))
    rare = [at for at, what, *_ in planned if what in _RARE and at > 7 * 3600]
    drawn = sorted((*planned, *_faults(firm, rare), *_aimed(firm)))
    return [
        FirmAct(at, number, what, who, draw) for number, (at, what, who, draw) in enumerate(drawn)
    ]


Drawn = tuple[int, str, int, int]
UNREAD_OF = 5  # one card in so many is taken back without a code
SHORT_LOAN_OF = 9  # one loan in so many is asked for by hours; and somebody tries its end


def _rng(firm: SimulatedFirm, name: str) -> random.Random:
    return random.Random(f"{firm.seed}|{name}")


def _provisioning(firm: SimulatedFirm) -> Iterator[Drawn]:
    """Before the first morning; those of whoever joins later on their first day."""
    rng = _rng(firm, "provisioning")
    joining = set(joiners(firm))
    for card in range(firm.cards):
        day = _first_day(firm, card) if card in joining else 0
        yield day * DAY_S + made_at(firm, card) + 1, Verb.PROVISION, card, rng.getrandbits(32)


def _reading(firm: SimulatedFirm) -> Iterator[Drawn]:
    """The first people have a reader besides: enrolled on the first day, used once a working day;
    now and then somebody else's thumb is laid on it."""
    for person in range(firm.with_readers):
        rng = _rng(firm, f"reader {person}")
        yield READERS_AT + person, Verb.ENROL_READER, person, rng.getrandbits(32)
        if firm.level is not Level.NONE and person % _BEFALLEN < 2:
            what = (Mishap.READER_CUT, Mishap.STATION_ENDS)[person % _BEFALLEN]
            who = person if what is Mishap.READER_CUT else 0  # the first station enrols them
            yield READERS_AT + person - 1, what, who, rng.getrandbits(32) % _READER_STEPS
        for day in range(firm.days):
            if day % 7 < _WORKDAYS:
                at = day * DAY_S + round(rng.gauss(10, 1) * 3600)
                yield at, Verb.THUMB, person, rng.getrandbits(32)
            if rng.random() < 0.05 * _MISHAPS[firm.level]:
                at = day * DAY_S + rng.randrange(12 * 3600, DAY_S)
                yield at, Verb.STRANGE_THUMB, person, rng.getrandbits(32)


def joiners(firm: SimulatedFirm) -> list[int]:
    return list(range(firm.from_the_first_day, firm.people))


def _first_day(firm: SimulatedFirm, person: int) -> int:
    if person not in joiners(firm):
        return 0
    rng = random.Random(f"{firm.seed}|joins|{person}")
    return rng.randrange(min(1, firm.days - 1), firm.days)


def _last_day(firm: SimulatedFirm, person: int) -> int:
    rng = random.Random(f"{firm.seed}|leaves|{person}")
    return (
        rng.randrange(1, firm.days + 1)
        if rng.random() < _MISHAPS[firm.level] * firm.days / 600
        else firm.days
    )


def _working(firm: SimulatedFirm) -> Iterator[Drawn]:
    for person in range(firm.people):
        rng = _rng(firm, f"person {person}")
        first, last = _first_day(firm, person), _last_day(firm, person)
        if first > 0:
            yield first * DAY_S + 5 * 3600 - 60, Verb.JOIN, person, person
        habit, pocket = rng.choice((1, 2, 2, 3)), rng.choice((0.0, 0.02, 0.1))
        for day in range(first, last):
            yield from _day(day, person, habit, pocket, _MISHAPS[firm.level], rng)
        if last < firm.days:
            yield last * DAY_S + 8 * 3600, Verb.LEAVE, person, 0
            yield last * DAY_S + 9 * 3600, Verb.LOG_IN, person, rng.getrandbits(32)


def _in_wallets(firm: SimulatedFirm) -> Iterator[Drawn]:
    """Two on the first morning, of whom one card is just within the window, and one just beyond."""
    there = range(firm.from_the_first_day)
    rng = _rng(firm, "wallets")
    for person, times in zip(rng.sample(there, min(2, len(there))), (9, 10), strict=False):
        if firm.people > len(IN_A_WALLET):
            yield 7 * 3600 + person, Verb.PRESS, person, IN_A_WALLET.index(times)


def _day(
    day: int, person: int, habit: int, pocket: float, mishaps: int, rng: random.Random
) -> Iterator[Drawn]:
    begin = day * DAY_S
    if day % 7 < _WORKDAYS or rng.random() < 0.05:
        came = begin + round(rng.gauss(8.5, 0.7) * 3600)
        if rng.random() < 0.01 * mishaps:
            yield came - 300, Verb.BORROW, person, rng.getrandbits(32)
            if rng.random() < 0.8:
                yield begin + 17 * 3600, Verb.GIVE_BACK, person, rng.getrandbits(32)
            else:
                yield begin + 30 * 3600, Verb.LATE, person, rng.getrandbits(32)
                yield begin + 31 * 3600, Verb.GIVE_BACK, person, rng.getrandbits(32)
        for time in range(habit):
            at = came + time * 7200 + rng.randrange(1800)
            yield at, Verb.LOG_IN, person, rng.getrandbits(32)
        if rng.random() < 0.002 * mishaps:
            yield begin + 18 * 3600, Verb.LOSE, person, rng.getrandbits(32)
    if rng.random() < pocket:
        yield begin + rng.randrange(DAY_S), Verb.PRESS, person, rng.getrandbits(32)


def _surely(firm: SimulatedFirm, planned: Counter[str]) -> Iterator[Drawn]:
    """What has not come about by chance, so that each kind is in the life of the smallest firm that
    has enough people for it. planned: how often each is there."""
    rng = _rng(firm, "surely")
    there = range(firm.from_the_first_day)
    for what, hour, who, then in (
        (Verb.BORROW, 7, there, ((Verb.GIVE_BACK, 17),)),
        (Verb.LATE, 30, there, ()),
        (Verb.LOSE, 12, there, ()),
        (Verb.GUESS, 15, there, ()),
        (Verb.REPLAY, 16, there, ()),
        (Verb.COPY, 13, there, ()),
        (Verb.CLONE, 14, there, ()),
        (Verb.RACE, 11, there, ()),
        (Verb.STRANGE_THUMB, 12, range(firm.with_readers), ()),
        (Verb.FORGET_PHONE, 7, firm.with_phones, ((Verb.PORTAL, 11),)),
        (Verb.RECOVER, 9, firm.with_phones, ()),
        (Verb.CALL, 10, firm.with_phones, ((Verb.PORTAL, 12),)),
        (Verb.FALSE_CALL, 13, firm.with_phones, ()),
        (Verb.PHISH, 20, firm.with_phones, ()),
    ):  # fmt: skip
        for _ in range(_EACH - planned[what] if who else 0):
            day, person = rng.randrange(firm.days), rng.choice(who)
            begin = day * DAY_S + rng.randrange(1800)
            if what is Verb.LATE:
                yield begin + 8 * 3600, Verb.BORROW, person, rng.getrandbits(32)
                yield begin + (hour + 1) * 3600, Verb.GIVE_BACK, person, rng.getrandbits(32)
            yield begin + hour * 3600, what, person, rng.getrandbits(32)
            for more, at in then:
                yield begin + at * 3600, more, person, rng.getrandbits(32)
    yield from _over_the_change(firm, rng)
    yield from _by_the_hour(firm, rng)
    yield from _unread(firm, rng)
    yield from _leaving(firm, _EACH - planned[Verb.LEAVE], rng)
    for _ in range(_EACH - planned[Verb.THIEF]):
        at = firm.days * DAY_S - rng.randrange(1, 3 * 3600)
        yield at, Verb.THIEF, 0, rng.getrandbits(32)


def _over_the_change(firm: SimulatedFirm, rng: random.Random) -> Iterator[Drawn]:
    """A loan on the Sunday on which the clocks change."""
    if firm.days > CHANGE_DAY:
        begin, person = CHANGE_DAY * DAY_S, rng.randrange(firm.from_the_first_day)
        draw = SHORT_LOAN_OF * rng.getrandbits(28) + 3  # until the end of the day, and tried
        yield begin + 8 * 3600, Verb.BORROW, person, draw
        yield begin + 19 * 3600, Verb.GIVE_BACK, person, rng.getrandbits(32)


def _by_the_hour(firm: SimulatedFirm, rng: random.Random) -> Iterator[Drawn]:
    """A loan of some hours while the desk's own clock is wrong."""
    begin = rng.randrange(firm.days) * DAY_S + 9 * 3600
    person = rng.randrange(firm.from_the_first_day)
    if firm.level is not Level.NONE:
        yield begin, Mishap.STATION_CLOCK, 0, rng.getrandbits(32)
        yield begin + 60, Verb.BORROW, person, SHORT_LOAN_OF * rng.getrandbits(28)
        yield begin + 5 * 3600, Verb.GIVE_BACK, person, rng.getrandbits(32)


def _unread(firm: SimulatedFirm, rng: random.Random) -> Iterator[Drawn]:
    """A lent card whose display seems to be broken comes back before the loan is over."""
    begin = rng.randrange(firm.days) * DAY_S + 8 * 3600
    person = rng.randrange(firm.from_the_first_day)
    yield begin, Verb.BORROW, person, SHORT_LOAN_OF * rng.getrandbits(28) + 1
    yield begin + 4 * 3600, Verb.GIVE_BACK, person, UNREAD_OF * rng.getrandbits(28)


def _leaving(firm: SimulatedFirm, count: int, rng: random.Random) -> Iterator[Drawn]:
    """One by the directory, and one by hand; neither has a reader or a telephone. On the last day
    somebody with a telephone, by hand: what opens an account is still there, and opens nothing."""
    others = set(range(firm.with_readers, firm.from_the_first_day)) - set(firm.with_phones)
    if firm.days < 2 or firm.people <= _ENOUGH:
        return
    if len(firm.with_phones) > 1:
        last, person = (firm.days - 1) * DAY_S, firm.with_phones[-1]
        yield last + 17 * 3600, Verb.LEAVE, person, 1
        yield last + 18 * 3600, Verb.PORTAL, person, rng.getrandbits(32)
    for by_hand in range(count):
        fitting = sorted(one for one in others if one % 2 == by_hand)
        if not fitting:
            continue
        person = rng.choice(fitting)
        begin = rng.randrange(1, firm.days) * DAY_S
        yield begin + 8 * 3600, Verb.LEAVE, person, 0
        yield begin + 9 * 3600, Verb.LOG_IN, person, rng.getrandbits(32)


def _calling(firm: SimulatedFirm) -> Iterator[Drawn]:
    """Whoever has a telephone is at the portal now and then, and in trouble more rarely."""
    mishaps = _MISHAPS[firm.level]
    for person in firm.with_phones:
        rng = _rng(firm, f"phone {person}")
        yield 6 * 3600 + 900 + person, Verb.PHONE, person, rng.getrandbits(32)
        for day in range(firm.days):
            at = day * DAY_S + round(rng.gauss(11, 0.5) * 3600)
            for chance, early, what in (
                (0.03 * mishaps, 4 * 3600, Verb.FORGET_PHONE),
                (0.02 * mishaps, 3600, Verb.RECOVER),
                (0.01 * mishaps, 1800, Verb.CALL),
                (0.4, 0, Verb.PORTAL),
            ):
                if rng.random() < chance:
                    yield at - early, what, person, rng.getrandbits(32)


def _staff(firm: SimulatedFirm) -> Iterator[Drawn]:
    rng = _rng(firm, "staff")
    for day in range(firm.days):
        for hour in (6, 14):
            yield day * DAY_S + hour * 3600 - 900, Verb.SHIFT, 0, rng.getrandbits(32)
        for hour in range(24):
            yield day * DAY_S + hour * 3600, Verb.SWEEP, 0, 0


def _strangers(firm: SimulatedFirm) -> Iterator[Drawn]:
    """About one attack a day for each hundred people, of whatever kind; more where much goes
    wrong."""
    rng = _rng(firm, "strangers")
    kinds = (
        Verb.GUESS, Verb.REPLAY, Verb.THIEF, Verb.CLONE, Verb.COPY, Verb.FALSE_CALL, Verb.PHISH
    )  # fmt: skip
    for day in range(firm.days):
        for _ in range(_MISHAPS[firm.level] * (1 + firm.people // 100)):
            at = day * DAY_S + rng.randrange(7 * 3600, DAY_S)
            what = rng.choices(kinds, (3, 4, 2, 1, 2, 1, 1))[0]
            who = rng.randrange(max(1, firm.people))
            if what in (Verb.FALSE_CALL, Verb.PHISH):
                who = rng.choice(firm.with_phones or range(1))
            yield at, what, who, rng.getrandbits(32)


def _faults(firm: SimulatedFirm, rare: list[int]) -> Iterator[Drawn]:
    """rare: when something is done that is seldom done."""
    rng = _rng(firm, "faults")
    count = round(firm.cards * firm.days * _FAULTS_PER_100_CARD_DAYS[firm.level] / 100)
    if firm.level is not Level.NONE:
        count = max(count, _EACH * len(_DRAWN))
    kinds = _DRAWN
    weights = tuple(_OFTEN.get(kind, 1) for kind in kinds)
    often: Counter[str] = Counter()
    for number in range(count):
        each = number < _EACH * len(kinds)
        trouble = kinds[number % len(kinds)] if each else rng.choices(kinds, weights)[0]
        if not each and trouble in _OF_THE_HOUSE and often[trouble] > firm.days // _APART_DAYS:
            trouble = Mishap.CUT  # there is one server, however many cards
        often[trouble] += 1
        in_the_first_hour = trouble in _WHILE_MADE or (
            trouble in _NOW_AND_THEN and often[trouble] % 2 == firm.seed % 2
        )
        who = _card_made(firm, trouble, rng) if in_the_first_hour else rng.randrange(firm.cards)
        at = made_at(firm, who) if in_the_first_hour else rng.randrange(7 * 3600, firm.days * DAY_S)
        draw = rng.getrandbits(32)
        if trouble in _AT_A_REQUEST and rare and not in_the_first_hour and rng.random() < _AT_RARE:
            at, draw = rng.choice(rare) - 1, draw & ~7 | draw & (trouble is Mishap.SERVER_ENDS)
        yield at, trouble, who, draw


def _aimed(firm: SimulatedFirm) -> Iterator[Drawn]:
    """The server ends before or after it has done what was asked, or only its answer is lost; or it
    ends before, and is away. Each at the next request of a kind. draw: which of these"""
    if firm.level is Level.NONE:
        return
    rng = _rng(firm, "aimed")
    for number, (_path, early) in enumerate(AIMED_AT):
        for time in range(_AIMED_EACH):
            at = 4 * 3600 if early else rng.randrange(6 * 3600, firm.days * DAY_S * 2 // 3)
            yield at - 1, Mishap.AIMED, number, (number + firm.seed + time) % 4


def made_at(firm: SimulatedFirm, card: int) -> int:
    """Just before that: in seconds since the first midnight, of whoever is there from the first day
    on. The last comes first, so that whatever befalls it is over when the others are made. Every
    other spare is of a second batch, which the next day's late shift makes."""
    if card == firm.cards - 1:
        return 2 * 3600
    again = firm.people <= card < firm.cards and (card - firm.people) % 2
    begin = DAY_S + 14 * 3600 + 1200 if again and firm.days > 1 else 5 * 3600
    return begin + 2 * (card % 1800)


def _card_made(firm: SimulatedFirm, trouble: Mishap, rng: random.Random) -> int:
    """While which card something goes wrong. The last is nobody's, so that registering it is the
    last that the server hears of it: that is when the server goes away, and nothing else happens to
    it. Of the others, one in three is nobody's. A network is lost for whatever comes after."""
    last = firm.cards - 1
    if trouble is Mishap.SERVER_AWAY or not last:
        return last
    if trouble is Mishap.NETWORK_LOST:
        return last - 1
    first = firm.people if rng.random() < _SPARE else 0
    return rng.randrange(min(first, last - 1), last)
