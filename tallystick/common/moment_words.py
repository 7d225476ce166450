"""Words for moments in other languages, put into those that `moments` reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

_DAYS: tuple[str, ...] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
_MONTHS: tuple[str, ...] = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_AFTER_NUMBER = re.compile(r"(?:^|[^\d:.])\d{1,2}\.? ?$")
LONGEST_HOURS = 6  # “3h” is a length of time; “17h” may be a time of day as well


@dataclass(frozen=True)
class MomentWords:
    """All without accents. words: whole ones; one that says nothing is "". phrases: pattern → what
    stands for it. overmorrow: the day after tomorrow. hours_are_clock: whether 17h is 17:00."""

    days: tuple[str, ...]
    months: tuple[str, ...]
    words: Mapping[str, str]
    phrases: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]
    overmorrow: str
    hours_are_clock: bool = False


def _clock(match: re.Match[str]) -> str:
    return f"{match[1]}:{match[2] or '00'}"


def _all_to(english: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), english)


_SPOKEN: Mapping[str, MomentWords] = {
    "de": MomentWords(
        ("montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag"),
        (
            "januar", "februar", "marz", "april", "mai", "juni", "juli", "august", "september",
            "oktober", "november", "dezember",
        ),
        _all_to("", "um am bis der den dem nachster nachsten nachste nachstes kommenden")
        | _all_to("h", "std stunde stunden") | _all_to("min", "minute minuten")
        | _all_to("d", "t tag tage tagen") | _all_to("w", "woche wochen")
        | {
            "heute": "today", "morgen": "tomorrow", "mittag": "noon", "mitternacht": "midnight",
            "sonnabend": "saturday", "maerz": "march", "in": "in",
        },
        (
            (r"\b(\d{1,2})(?:[:.](\d{2}))? ?uhr\b(?! \d)", _clock),
            (r"\b(\d{1,2}) ?uhr (\d{2})\b", _clock),
        ),
        r"ubermorgen|uebermorgen",
    ),
    "fr": MomentWords(
        ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"),
        (
            "janvier", "fevrier", "mars", "avril", "mai", "juin", "juillet", "aout", "septembre",
            "octobre", "novembre", "decembre",
        ),
        _all_to("", "a le la au jusqu'a jusqu'au jusque ce prochain prochaine vers")
        | _all_to("h", "heure heures") | _all_to("min", "minute minutes")
        | _all_to("d", "j jour jours") | _all_to("w", "semaine semaines")
        | {
            "aujourd'hui": "today", "demain": "tomorrow", "midi": "noon", "minuit": "midnight",
            "dans": "in",
        },
        (
            (r"\b1er\b", "1"),
            (r"(?<!dans )\ba (\d{1,2}) ?h(?:eures?)?(?: ?(\d{2}))?\b", _clock),
        ),
        r"apres[- ]demain",
        hours_are_clock=True,
    ),
    "es": MomentWords(
        ("lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo"),
        (
            "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto",
            "septiembre", "octubre", "noviembre", "diciembre",
        ),
        _all_to("", "a el la las los de del hasta proximo proxima este que viene")
        | _all_to("h", "hora horas hs") | _all_to("min", "minuto minutos")
        | _all_to("d", "dia dias") | _all_to("w", "semana semanas")
        | {
            "hoy": "today", "manana": "tomorrow", "mediodia": "noon", "medianoche": "midnight",
            "en": "in", "dentro": "in", "setiembre": "september",
        },
        (
            (r"\b(\d{1,2}(?:[:.]\d{2})?) de la (?:tarde|noche)\b", r"\1 pm"),
            (r"\b(\d{1,2}(?:[:.]\d{2})?) de la manana\b", r"\1 am"),
            (r"\b(\d{1,2}) de (?=[a-z])", r"\1 "),
            (r"\ba las? (\d{1,2})(?:[:.](\d{2}))?(?: ?h(?:oras?|s)?)?(?= |$)(?! [ap]m)", _clock),
        ),
        r"pasado manana",
        hours_are_clock=True,
    ),
}  # fmt: skip


def in_english(text: str, language: str, today: date) -> str:
    """What a person wrote in a language, as `moments` reads it; what is no word of the language
    stays as it is, so that English is read, too. today: where the firm is."""
    spoken = _SPOKEN.get(language)
    if spoken is None or re.match(r"\d{4}-\d{2}-\d{2}T", text):
        return text
    said = " ".join(_plain(text).split())
    for pattern, instead in spoken.phrases:
        said = re.sub(pattern, instead, said)
    if spoken.hours_are_clock:
        said = _hours(said, spoken)
    later = today + timedelta(days=2)
    said = re.sub(rf"\b(?:{spoken.overmorrow})\b", f"{later.day}.{later.month}.{later.year}", said)
    return " ".join(_WORD.sub(lambda found: _word(found, spoken), said).split())


def _plain(text: str) -> str:
    """In small letters, without accents, commas, and the dots of what is shortened."""
    parts = unicodedata.normalize("NFD", text.lower().replace("’", "'").replace(",", " "))
    bare = "".join(one for one in parts if not unicodedata.combining(one))
    return re.sub(r"(?<=[^\W\d_])\.", "", bare)


def _hours(said: str, spoken: MomentWords) -> str:
    """17h30, and 17h beside a day, are times of day. 17h alone may be either, and is left as what
    nobody can read; 3h is a length of time."""
    alone = re.fullmatch(r"(\d{1,2}) ?h(?: ?(\d{2}))?", said)
    if alone is not None:
        if int(alone[1]) <= LONGEST_HOURS:
            return said
        return _clock(alone) if alone[2] else f"{said}?"
    beside_a_day = _WORD.match(said) and _word(_WORD.match(said), spoken) not in ("in", "")
    if beside_a_day or re.match(r"\d{1,2}[. ]", said):
        return re.sub(r"(?<![\d:.])(\d{1,2}) ?h(?: ?(\d{2}))?$", _clock, said)
    return said


def _word(found: re.Match[str] | None, spoken: MomentWords) -> str:
    if found is None:
        return ""
    word = found.group()
    if word in spoken.words:
        return spoken.words[word]
    own, english = spoken.days, _DAYS
    if _AFTER_NUMBER.search(found.string[: found.start()]):
        own, english = spoken.months, _MONTHS
    meant = [number for number, name in enumerate(own) if name.startswith(word)]
    if len(word) >= 2 and len(meant) == 1:
        return english[meant[0]]
    return word
