"""A list of people who each get a card of a batch: a CSV file, with or without a head line."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.registry import NEW_USER

HEADS = ("login", "user", "username")
NAMES = ("name", "full name", "full_name", "displayname")
ADDRESSES = ("address", "department", "room")
SHOWN = 20  # problems told at once


@dataclass(frozen=True)
class ListedPerson:
    """name: as a letter calls her; the login where the list has none. address: lines."""

    login: str
    name: str
    address: tuple[str, ...] = ()


def read_people(path: Path) -> list[ListedPerson]:
    """In the order of the file. Logins are of its column `login` (or `user`), else of its first;
    names of `name`; lines of an address of `address` (with | between them), `department`, `room`.

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
    column, heads = 0, [cell.lower() for cell in rows[0][1]] if rows else []
    named = [heads.index(head) for head in HEADS if head in heads]
    if named:
        column, rows = named[0], rows[1:]
    else:
        heads = []
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
    return [_listed(heads, row, column) for _, row in rows]


def _listed(heads: Sequence[str], row: Sequence[str], column: int) -> ListedPerson:
    def cell(head: str) -> str:
        at = heads.index(head) if head in heads else len(row)
        return row[at] if at < len(row) else ""

    login = row[column]
    name = next((cell(head) for head in NAMES if cell(head)), login)
    lines = [line.strip() for head in ADDRESSES for line in cell(head).split("|")]
    return ListedPerson(login, name, tuple(line for line in lines if line))


_OTHERWISE = {
    "user-disabled": "whose account is disabled",
    "needs-more-rights": "who has more rights than a station: an administrator assigns that card",
}


def check_people(logins: Sequence[str], check: Callable[[str], None]) -> None:
    """Ask the registry for each of them. Raises RefusedError with all who are not known there, and
    who may be meant; UnreachableError."""
    problems = []
    for login in logins:
        try:
            check(login)
        except RefusedError as error:
            if why := _OTHERWISE.get(getattr(error, "reason", "")):
                problems.append(f"{login} ({why})")
                continue
            todo = (error.todo or "").removesuffix(NEW_USER)  # a list makes nobody known
            problems.append(f"{login} ({todo.rstrip('.')})" if todo else login)
    if problems:
        raise RefusedError(
            f"{len(problems)} of {len(logins)} people can get no card: {_some(problems)}.",
            kept="Nothing was written to any card.",
            todo="Correct the list, or make them known on the server.",
        )


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return "; ".join(problems[:SHOWN]) + more


class CardsForPeople:
    """Who gets the next card of a batch. What the journal has decides it, so that a batch that was
    stopped goes on where it was, and a card that failed leaves its user waiting."""

    def __init__(self, logins: Sequence[str], device: str | None = None) -> None:
        """device: which ones of a batch count; None: all."""
        self.logins = tuple(logins)
        self._device = device
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.logins)

    @contextmanager
    def next(self, journal: StationJournal, batch: str) -> Iterator[str]:
        """The first who has no card yet; to be noted in the journal before the end of this.
        Raises TallyError when nobody is left."""
        with self._lock:
            served = {
                (record.user or "").lower()
                for record in journal.batch(batch)
                if record.state is not CardState.FAILED and self._device in (None, record.device)
            }
            waiting = [login for login in self.logins if login.lower() not in served]
            if not waiting:
                raise TallyError(
                    "Everybody in the list has a card, or one under way.",
                    kept="Nothing was written to this card.",
                    todo="Take it out.",
                )
            yield waiting[0]
