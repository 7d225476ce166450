"""A text that knows how it came to be, so that it can be said in another language later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any

from tallystick.common.moments import day_in_words, in_words


@dataclass(frozen=True)
class Making:
    """message: as the catalogues have it. plural: for a count other than one, or "". values: what
    stands in its braces."""

    message: str
    plural: str
    count: int
    values: Mapping[str, Any]


class Worded(str):
    """In English, as any text; `catalogue.say` says it in another language."""

    __slots__ = ("making",)
    making: Making

    @classmethod
    def made(cls, making: Making) -> Worded:
        text = making.plural if making.plural and making.count != 1 else making.message
        worded = cls(text.format(**making.values) if making.values else text)
        worded.making = making
        return worded


class WordedMoment(str):
    """A moment in English, as `in_words` has it; `catalogue.say` says it in another language."""

    __slots__ = ("seconds", "zone")
    seconds: float
    zone: tzinfo

    @classmethod
    def at(cls, seconds: float, zone: tzinfo) -> WordedMoment:
        """seconds: since 1970. zone: the firm's."""
        moment = cls(in_words(seconds, zone))
        moment.seconds, moment.zone = seconds, zone
        return moment


class WordedDay(str):
    """A day in English, as `day_in_words` has it; `catalogue.say` says it in another language."""

    __slots__ = ("day",)
    day: date

    @classmethod
    def of(cls, day: date) -> WordedDay:
        made = cls(day_in_words(day))
        made.day = day
        return made


def worded(message: str, /, **values: Any) -> Worded:
    """message: a literal, which the catalogues are made of; {name} stands for a value."""
    return Worded.made(Making(message, "", 1, values))


def counted(one: str, many: str, count: int, /, **values: Any) -> Worded:
    """As `worded`, where the words depend on a number: it is {count}."""
    return Worded.made(Making(one, many, count, {"count": count, **values}))
