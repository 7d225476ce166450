"""Moments as people write them, in a firm's time zone, and as people are shown them."""

from __future__ import annotations

import re
import time as computer
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Protocol

from tallystick.common.errors import BadInputError
from tallystick.common.moment_words import in_english

EXAMPLES = "`today`, `tomorrow`, `Monday`, `17:30`, `5pm`, `90m`, `3h`, `2d` or `2026-05-01 17:30`"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_UNITS = {
    "m": "minutes", "min": "minutes", "mins": "minutes", "minute": "minutes", "minutes": "minutes",
    "h": "hours", "hr": "hours", "hrs": "hours", "hour": "hours", "hours": "hours",
    "d": "days", "day": "days", "days": "days",
    "w": "weeks", "week": "weeks", "weeks": "weeks",
}  # fmt: skip
_SPAN = re.compile(r"(?:in )?((?:\d{1,4} ?[a-z]+ ?)+)(\d{1,2})?")
_PART = re.compile(r"(\d{1,4}) ?([a-z]+)")
_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?(?::(\d{2}))?(?: ?(a\.?m\.?|p\.?m\.?)(?= |$))?")
_WORD_TIMES = {"noon": time(12), "midday": time(12), "midnight": time(0)}


class NoSuchTimeError(BadInputError):
    """A time that the clock skips on that day."""


class OtherZoneError(BadInputError):
    """Another zone than the firm has at that moment."""


class HostClock(Protocol):
    """As Python's module `time`."""

    def time(self) -> float:
        """Seconds since 1970."""

    def monotonic(self) -> float:
        """Of a clock that nobody can put forward or back, in s."""


clock: HostClock = computer
"""This computer's; a simulation gives one of its own."""


def now() -> float:
    """Seconds since 1970. One place: a check of the sources (ruff) sees to it that nothing else
    asks."""
    return clock.time()


def steady() -> float:
    """Of a clock that nobody can put forward or back, in s: to measure how long something took.
    As `now`, in one place."""
    return clock.monotonic()


@dataclass(frozen=True)
class LocalTime:
    """now: seconds since 1970. zone: the firm's. day_ends: when its working day ends, which is
    meant by a day that is named without a time."""

    now: float
    zone: tzinfo
    day_ends: time

    @property
    def local(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC).astimezone(self.zone)


class OwnZone(tzinfo):
    """This computer's own zone, by the system's rules for each moment: not the difference to UTC
    that it has now."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        if moment is None:
            return None
        bare = moment.replace(tzinfo=None)
        return moment.replace(tzinfo=UTC) - datetime.fromtimestamp(bare.timestamp(), UTC)

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None if moment is None else moment.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, moment: datetime) -> datetime:
        seconds = moment.replace(tzinfo=UTC).timestamp()
        return datetime.fromtimestamp(seconds).replace(tzinfo=self)  # noqa: DTZ006 (it is meant)

    def __str__(self) -> str:
        return "this computer's time zone"


def parse_moment(text: str, here: LocalTime, language: str = "en") -> int | None:
    """What a person wrote: → seconds since 1970; None for nothing, or `day`: the end of the firm's
    working day, which the server knows. language: whose words are read beside English ones.

    Days are days of the calendar: `2d` is the same time of day, whatever the clock does between.
    Hours and minutes are what passes. Raises BadInputError; NoSuchTimeError for a time that the
    clock skips, OtherZoneError.
    """
    english = in_english(text, language, here.local.date()).strip()
    said = " ".join(english.lower().replace(",", " ").split())
    if said in ("", "day", "the day", "end of day"):
        return None
    for read in (_exact, _span, _day_and_time):
        found = read(said, english, here)
        if found is not None:
            return found
    raise BadInputError(
        f"{text.strip()!r} is no end of a loan.",
        kept="Nothing was changed.",
        todo=f"Give {EXAMPLES}.",
    )


PAST_EXAMPLES = "`today`, `yesterday 22:00`, `Monday`, `6:00`, `8h` or `2026-05-01 17:30`"


def parse_past(text: str, here: LocalTime, *, end: bool = False) -> int:
    """What a person wrote of the past: → seconds since 1970. A day without a time is its first
    moment, or (end) the first one after it; a weekday or a time of day is the last that there was,
    a length of time so long ago.

    Raises BadInputError, also for a time that the clock skips.
    """
    said = " ".join(text.lower().replace(",", " ").split())
    if said == "now":
        return int(here.now)
    for read in (_exact_past, _ago, _last_day_and_time):
        found = read(said, text.strip(), here, end)
        if found is not None:
            return found
    raise BadInputError(
        f"{text.strip()!r} is no moment of the past.",
        kept="Nothing was changed.",
        todo=f"Give {PAST_EXAMPLES}.",
    )


def _exact_past(said: str, text: str, here: LocalTime, end: bool) -> int | None:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return _start_of(date.fromisoformat(text), here, end)
        except ValueError:
            return None
    return _exact(said, text, here)


def _ago(said: str, text: str, here: LocalTime, end: bool) -> int | None:
    ahead = _span(said.removesuffix(" ago"), text, here)
    if ahead is None:
        return None
    days = sum(int(n) * (7 if u[0] == "w" else 1) for n, u in _PART.findall(said) if u[0] in "dw")
    if not days:
        return int(2 * here.now - ahead)
    whole = (here.local + timedelta(days=days)).replace(fold=0).timestamp()
    back = (here.local - timedelta(days=days)).replace(fold=0).timestamp()
    return int(back - (ahead - whole))


def _last_day_and_time(said: str, text: str, here: LocalTime, end: bool) -> int | None:
    said = re.sub(r"\b(since|from|until|at|on|last)\b ?", "", said).strip()
    today = here.local.date()
    word, _, rest = said.partition(" ")
    day: date | None = None
    if word in ("today", "yesterday"):
        day = today - timedelta(days=word == "yesterday")
    elif len(word) >= 2 and word.isalpha():
        names = [number for number, name in enumerate(_DAYS) if name.startswith(word)]
        if len(names) == 1:
            day = today - timedelta(days=(today.weekday() - names[0]) % 7)
    if day is None:
        day, rest = _date(said, today)
        if day is not None and day > today:
            day = day.replace(year=day.year - 1)
    if day is not None:
        return _on_past(day, rest, here, end)
    clock, zone, rest = _clock(said)
    if clock is None or rest:
        return None
    for back in (0, 1):
        found = _at(today - timedelta(days=back), clock, here, zone, strict=back == 1)
        if found is not None and found <= here.now:
            return found
    return None


def _on_past(day: date, rest: str, here: LocalTime, end: bool) -> int | None:
    if not rest:
        return _start_of(day, here, end)
    clock, zone, left = _clock(rest)
    return None if clock is None or left else _at(day, clock, here, zone)


def _start_of(day: date, here: LocalTime, end: bool) -> int:
    """Midnight, or what comes in its place where the clock skips it."""
    moment = datetime.combine(day + timedelta(days=end), time(0), here.zone)
    return int(moment.timestamp())


def in_words(
    seconds: float, zone: tzinfo | None, language: str = "en", *, exact: bool = False
) -> str:
    """A moment with weekday and zone: Sun 25 Oct 2026 17:30 CET. zone: None for this computer's
    own. exact: to the second."""
    local = datetime.fromtimestamp(seconds, UTC).astimezone(zone)
    days, months = SHORT_NAMES[language]
    day, month = days.split()[local.weekday()], months.split()[local.month - 1]
    dot = "." if language in ("de", "nb") else ""
    clock = f"{local:%H:%M:%S}" if exact else f"{local:%H:%M}"
    return f"{day} {local.day}{dot} {month} {local:%Y} {clock} {zone_name(local)}"


def day_in_words(day: date, language: str = "en") -> str:
    """A day as a letter has it: 25 Oct 2026."""
    dot = "." if language in ("de", "nb") else ""
    return f"{day.day}{dot} {SHORT_NAMES[language][1].split()[day.month - 1]} {day.year}"


SHORT_NAMES = {
    "en": ("Mon Tue Wed Thu Fri Sat Sun", "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"),
    "de": ("Mo Di Mi Do Fr Sa So", "Jan Feb März Apr Mai Juni Juli Aug Sept Okt Nov Dez"),
    "fr": (
        "lun. mar. mer. jeu. ven. sam. dim.",
        "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    ),
    "es": (
        "lun mar mié jue vie sáb dom",
        "ene feb mar abr may jun jul ago sept oct nov dic",
    ),
    "nb": (
        "man. tir. ons. tor. fre. lør. søn.",
        "jan feb mars apr mai juni juli aug sep okt nov des",
    ),
}  # fmt: skip
"""Language → days from Monday on, months; not by the computer's locale, which is anybody's."""


def zone_name(local: datetime) -> str:
    """Its abbreviation; where there is none, the difference to UTC."""
    name = local.tzname() or ""
    return f"UTC{name}" if name[:1] in "+-" else name


def how_long(seconds: float) -> str:
    """A length of time in two units at most: 1 minute, 2 h 30 min, 3 days."""
    minutes = max(0, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"


def _exact(said: str, text: str, here: LocalTime) -> int | None:
    """ISO 8601, a date alone too."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return _at(date.fromisoformat(text), here.day_ends, here)
        moment = datetime.fromisoformat(text.replace("z", "Z"))
    except ValueError:
        # With an hour that is not ISO's: 2026-05-01 5pm.
        try:
            return _on(date.fromisoformat(text[:10]), said[10:].strip(), here)
        except ValueError:
            return None
    if moment.tzinfo is not None:
        return int(moment.timestamp())
    return _at(moment.date(), moment.time(), here)


def _span(said: str, text: str, here: LocalTime) -> int | None:
    match = _SPAN.fullmatch(said)
    if match is None:
        return None
    parts = [(int(number), _UNITS.get(unit)) for number, unit in _PART.findall(match[1])]
    if any(unit is None for _, unit in parts):
        return None
    if match[2]:  # 1h30. From 7h30 on it may be a time of day as well.
        if parts[-1][1] != "hours" or parts[-1][0] > 6 or int(match[2]) > 59:
            return None
        parts.append((int(match[2]), "minutes"))
    length = {unit: number for number, unit in parts if unit is not None}
    days = length.get("days", 0) + 7 * length.get("weeks", 0)
    elapsed = timedelta(hours=length.get("hours", 0), minutes=length.get("minutes", 0))
    if not days and not elapsed:
        return None
    start = here.now
    if days:
        local = here.local + timedelta(days=days)
        start = local.replace(fold=0).timestamp()
    return int(start + elapsed.total_seconds())


def _day_and_time(said: str, text: str, here: LocalTime) -> int | None:
    said = re.sub(r"\b(until|at|on|by|next)\b ?", "", said).strip()
    day, rest = _day(said, here)
    if day is not None:
        return _on(day, rest, here)
    clock, zone, rest = _clock(said)
    if clock is None:
        return None
    day, left = _day(rest, here) if rest else (None, "")
    if left or (rest and day is None):
        return None
    if day is not None:
        return _at(day, clock, here, zone)
    today = here.local.date()
    for later in (0, 1):
        end = _at(today + timedelta(days=later), clock, here, zone, strict=later == 1)
        if end is not None and end > here.now:
            return end
    return None


def _on(day: date, rest: str, here: LocalTime) -> int | None:
    if not rest:
        return _at(day, here.day_ends, here)
    clock, zone, left = _clock(rest)
    return None if clock is None or left else _at(day, clock, here, zone)


def _day(said: str, here: LocalTime) -> tuple[date | None, str]:
    """The day that a text begins with, and what follows."""
    today = here.local.date()
    word, _, rest = said.partition(" ")
    if word in ("today", "tomorrow"):
        return today + timedelta(days=word == "tomorrow"), rest
    if len(word) >= 2 and word.isalpha():
        names = [number for number, name in enumerate(_DAYS) if name.startswith(word)]
        if len(names) == 1:
            day, left = _date(rest, today)
            if day is not None:  # as it is shown: Sun 25 Oct 2026
                return (day, left) if day.weekday() == names[0] else (None, said)
            return today + timedelta(days=(names[0] - today.weekday() - 1) % 7 + 1), rest
    return _date(said, today)


def _date(said: str, today: date) -> tuple[date | None, str]:
    """25.10., 25.10.2026, 25 Oct, Oct 25 2026. One with a slash may be read in two ways: not."""
    dotted = re.match(r"(\d{1,2})\.(\d{1,2})\.(\d{4})?(?: |$)", said)
    named = re.match(r"(\d{1,2})\.? ?([a-z]{3,9})\.?(?: (\d{4}))?(?: |$)", said)
    turned = re.match(r"([a-z]{3,9})\.? (\d{1,2})(?: (\d{4}))?(?: |$)", said)
    if dotted:
        match, day, month = dotted, int(dotted[1]), int(dotted[2])
    elif named and (number := _month(named[2])):
        match, day, month = named, int(named[1]), number
    elif turned and (number := _month(turned[1])):
        match, day, month = turned, int(turned[2]), number
    else:
        return None, said
    try:
        found = date(int(match[3] or today.year), month, day)
        if match[3] is None and found < today:
            found = found.replace(year=today.year + 1)
    except ValueError:
        return None, said
    return found, said[match.end() :].strip()


def _month(word: str) -> int:
    """From 1; 0 for another word."""
    names = [number for number, name in enumerate(_MONTHS, 1) if name.startswith(word)]
    return names[0] if len(names) == 1 else 0


def _clock(said: str) -> tuple[time | None, str, str]:
    """The time of day that a text begins with, its zone where one is named, and what follows."""
    word, _, rest = said.partition(" ")
    if word in _WORD_TIMES:
        return _WORD_TIMES[word], "", rest
    match = _CLOCK.match(said)
    rest = said[match.end() :] if match else ""
    # A number alone may be an hour, a day or a span.
    if match is None or (match[2] is None and match[4] is None) or rest[:1].strip():
        return None, "", said
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[4]:
        hour = hour % 12 + (12 if match[4][0] == "p" else 0) if 1 <= hour <= 12 else 24
    if hour > 23 or minute > 59 or second > 59:
        return None, "", said
    rest = rest.strip()
    zone = re.match(r"([a-z]{3,5}|utc[+-]\d{2,4})(?: |$)", rest)
    if zone and not any(name.startswith(zone[1]) for name in (*_DAYS, "today", "tomorrow")):
        return time(hour, minute, second), zone[1].upper(), rest[zone.end() :].strip()
    return time(hour, minute, second), "", rest


def _at(
    day: date, clock: time, here: LocalTime, zone: str = "", *, strict: bool = True
) -> int | None:
    """A time of day in the firm's zone. One that comes twice is the first, unless its zone says
    otherwise. strict: one that does not come that day is refused, otherwise None."""
    sides = [datetime.combine(day, clock, here.zone).replace(fold=fold) for fold in (0, 1)]
    real = [one for one in sides if _comes_back(one)]
    if not real:
        if not strict:
            return None
        raise NoSuchTimeError(
            f"There is no {clock:%H:%M} on {day:%a} {day.day} {day:%b %Y} in {here.zone}: "
            "clocks are put forward over it.",
            kept="Nothing was changed.",
            todo="Give a time before or after.",
        )
    if zone:
        real = [one for one in real if zone_name(one) == zone]
        if not real and not strict:
            return None
        if not real:
            raise OtherZoneError(
                f"It is not {zone} in {here.zone} then, but {zone_name(sides[0])}.",
                kept="Nothing was changed.",
                todo="Leave the zone out.",
            )
    return int(real[0].timestamp())


def _comes_back(moment: datetime) -> bool:
    there = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return there.replace(tzinfo=None, fold=0) == moment.replace(tzinfo=None, fold=0)
