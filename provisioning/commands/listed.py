"""The list of people that a batch is for, as a command takes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tallystick.common.console import err
from tallystick.provisioning.labels.fonts import unprintable
from tallystick.provisioning.people import SHOWN, ListedPerson, read_people


def listed_logins(path: Path) -> list[str]:
    """In the order of the file; what of it no label or letter could say is told now, not when the
    cards are made. Raises BadInputError."""
    people = read_people(path)
    _tell_unprintable(people)
    return [one.login for one in people]


def _tell_unprintable(people: Iterable[ListedPerson]) -> None:
    astray = [
        f"{text} ({missing})"
        for person in people
        for text in dict.fromkeys((person.login, person.name, *person.address))
        if (missing := unprintable(text))
    ]
    if not astray:
        return
    more = f"; and {len(astray) - SHOWN} more" if len(astray) > SHOWN else ""
    err().print(
        f"No font here prints {'; '.join(astray[:SHOWN])}{more}. Cards can be made, labels and "
        "letters in PDF with these names cannot: write them in Latin, Greek or Cyrillic letters in "
        "the list before you print.",
        style="yellow", markup=False, highlight=False,
    )  # fmt: skip
