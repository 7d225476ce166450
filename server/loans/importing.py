"""Take the tokens of a file in: register them, and give them to the users that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import ApiError, EntryProblem, entry_problems
from tallystick.server.loans import holding
from tallystick.server.stock import cards
from tallystick.server.stock.gathering import CardSeed, Taken
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing


@dataclass(frozen=True)
class Intent:
    """dry_run: nothing is kept. skip: leave out what cannot be registered. assign: give cards to
    the users that the file names, and that are known here. new_users: make them known."""

    dry_run: bool = False
    skip: bool = False
    assign: bool = True
    new_users: bool = False


@dataclass(frozen=True)
class TakenIn:
    """cards: an answer for each card of the file that is registered now, in its order."""

    cards: list[dict[str, Any]]
    left_out: list[EntryProblem]


class _NotKeptError(Exception):
    """Ends a dry run's transaction."""


def take_in(
    database: Database,
    ring: ServerKeyRing,
    caller: Caller,
    taken: Taken,
    intent: Intent,
    now: float,
) -> TakenIn:
    """All of it, or nothing. Raises ApiError: 409 for a serial or a seed that is here with another;
    as `holding.assign`."""
    done: list[TakenIn] = []
    try:
        with database.write() as connection:
            done.append(_take_in(connection, ring, caller, taken, intent, now))
            if intent.dry_run:
                raise _NotKeptError
    except _NotKeptError:
        pass
    return done[0]


def _take_in(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    taken: Taken,
    intent: Intent,
    now: float,
) -> TakenIn:
    left_out = list(taken.left_out)
    answers = cards.register(
        connection, ring, caller, taken.entries, now, left_out=left_out if intent.skip else None
    )
    entries = {entry.serial: entry for entry in taken.entries}
    shown: list[dict[str, Any]] = []
    problems: list[tuple[int, str | None, ApiError]] = []
    for number, answer in enumerate(answers, start=1):
        entry = entries[answer["serial"]]
        assigned = False
        if entry.user and intent.assign:
            try:
                assigned = _assign(connection, ring, caller, entry, intent, now)
            except ApiError as error:
                problems.append((number, entry.serial, error))
        shown.append(
            answer
            | {
                "type": entry.generator.type,
                "algorithm": entry.generator.algorithm,
                "step_s": entry.generator.step_s,
                "user": entry.user or None,
                "assigned": assigned,
            }
        )
    if problems:
        raise entry_problems(problems)
    return TakenIn(shown, left_out)


def _assign(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    entry: CardSeed,
    intent: Intent,
    now: float,
) -> bool:
    """→ whether the user has it now; a name that nobody has here is no reason to refuse the file"""
    known = people.find(connection, caller.firm_id, entry.user) is not None
    if not known and not intent.new_users:
        return False
    holding.assign(
        connection, ring, caller, entry.serial, login=entry.user, now=now, new_user=intent.new_users
    )
    return True
