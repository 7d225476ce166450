"""A list of people who each get a card of a batch: a CSV file, with or without a head line."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.provisioning.journal import CardState, StationJournal

HEADS = ("login", "user", "username")
SHOWN = 20  # problems told at once


def read_people(path: Path) -> list[str]:
    """Logins, in the order of the file: of its column `login` (or `user`), else of its first.

    Raises BadInputError, also for a login that stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"The list {path} cannot be read: {error}.", todo="Give a CSV file in UTF-8."
        ) from None
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(text.splitlines(), delimiter=separator), 1)
        if any(cell.strip() for cell in row)
    ]
    column = 0
    if rows:
        heads = [cell.lower() for cell in rows[0][1]]
        named = [heads.index(head) for head in HEADS if head in heads]
        if named:
            column, rows = named[0], rows[1:]
    logins: dict[str, int] = {}
    problems = []
    for number, row in rows:
        login = row[column] if column < len(row) else ""
        if not login:
            problems.append(f"line {number} names nobody")
        elif login.lower() in logins:
            problems.append(f"line {number}: {login} stands in line {logins[login.lower()]} too")
        else:
            logins[login.lower()] = number
    if problems or not logins:
        raise BadInputError(
            f"The list {path} is not good: {_some(problems) or 'it names nobody'}.",
            kept="Nothing was begun.",
            todo="Correct it: one login a line, each once.",
        )
    return [row[column] for _, row in rows]


def check_people(logins: Sequence[str], check: Callable[[str], None]) -> None:
    """Ask the registry for each of them. Raises RefusedError with all who are not known there, and
    who may be meant; UnreachableError."""
    problems = []
    for login in logins:
        try:
            check(login)
        except RefusedError as error:
            problems.append(f"{login} ({error.todo})" if error.todo else login)
    if problems:
        raise RefusedError(
            f"{len(problems)} of {len(logins)} people are not known: {_some(problems)}.",
            kept="Nothing was written to any card.",
            todo="Correct the list, or make them known on the server.",
        )


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


class CardsForPeople:
    """Who gets the next card of a batch. What the journal has decides it, so that a batch that was
    stopped goes on where it was, and a card that failed leaves its user waiting."""

    def __init__(self, logins: Sequence[str]) -> None:
        self._logins = tuple(logins)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._logins)

    @contextmanager
    def next(self, journal: StationJournal, batch: str) -> Iterator[str]:
        """The first who has no card yet; to be noted in the journal before the end of this.
        Raises TallyError when nobody is left."""
        with self._lock:
            served = {
                (record.user or "").lower()
                for record in journal.batch(batch)
                if record.state is not CardState.FAILED
            }
            waiting = [login for login in self._logins if login.lower() not in served]
            if not waiting:
                raise TallyError(
                    "Everybody in the list has a card, or one under way.",
                    kept="Nothing was written to this card.",
                    todo="Take it out.",
                )
            yield waiting[0]
