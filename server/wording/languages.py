"""The languages, and how a browser says which it wants."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Language(StrEnum):
    """In which messages are written, and leaflets printed."""

    ENGLISH = "en"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"
    NORWEGIAN = "nb"


# Whose catalogues are complete: of pages, and of messages that are not about cards.
SPOKEN = (Language.ENGLISH, Language.GERMAN, Language.FRENCH, Language.SPANISH)
NAMES = {
    Language.ENGLISH: "English",
    Language.GERMAN: "Deutsch",
    Language.FRENCH: "Français",
    Language.SPANISH: "Español",
}
MOST_CHOICES = 50  # of one header

_CHOICE = re.compile(r"([A-Za-z]{1,8})(?:-[A-Za-z0-9]{1,8})*(?:\s*;\s*q=([01](?:\.[0-9]{0,3})?))?")
_speaking: ContextVar[Language | None] = ContextVar("speaking", default=None)


def spoken(tag: str | None) -> Language | None:
    """A language with a catalogue, by its code; None for anything else."""
    return next((one for one in SPOKEN if one.value == tag), None)


def asked_for(accepted: str) -> Language | None:
    """What a browser wants most of what there is, by its Accept-Language (RFC 9110, 12.5.4)."""
    wanted: list[tuple[float, Language]] = []
    for part in accepted.split(",")[:MOST_CHOICES]:
        found = _CHOICE.fullmatch(part.strip())
        language = spoken(found[1].lower()) if found else None
        weight = float(found[2] or 1) if found else 0.0
        if language is not None and weight > 0:
            wanted.append((weight, language))
    return max(wanted, key=lambda choice: choice[0])[1] if wanted else None


def preferred(tags: str) -> Language | None:
    """The first of a service's `ui_locales` that there is (OpenID Connect Core 3.1.2.1): tags with
    spaces between, the most wanted first."""
    own = (spoken(tag.split("-")[0].lower()) for tag in tags.split()[:MOST_CHOICES])
    return next((one for one in own if one is not None), None)


def speaking() -> Language | None:
    """The language of what is being made now; None: nobody has said."""
    return _speaking.get()


@contextmanager
def in_language(language: Language | None) -> Iterator[None]:
    """What is said meanwhile is said in it."""
    token = _speaking.set(language)
    try:
        yield
    finally:
        _speaking.reset(token)
