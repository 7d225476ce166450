"""Take the tokens of a file in: register them, and give them to the users that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import ApiError, EntryProblem, entry_lines, entry_problems
from tallystick.server.loans import holding
from tallystick.server.stock import cards
from tallystick.server.stock.gathered import MOST_PROBLEMS, Taken, Told
from tallystick.server.stock.gathering import SealedCard
from tallystick.server.stock.staged import StagedEntries
from tallystick.server.store.batches import batched
from tallystick.server.store.database import Database, patient
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
    """staged: an answer for each card of the file that is registered now, in its order, is there.
    new: whether any was not here before."""

    staged: StagedEntries
    left_out: list[EntryProblem]
    new: bool

    @property
    def cards(self) -> Iterator[dict[str, Any]]:
        return self.staged.answers()


class _NotKeptError(Exception):
    """Ends a dry run's transaction."""


def take_in(
    database: Database,
    ring: ServerKeyRing,
    caller: Caller,
    taken: Taken,
    intent: Intent,
    now: float,
    tell: Told = lambda *_: None,
) -> TakenIn:
    """All of it, or nothing. Whatever takes long is done before the one transaction. tell: may end
    it all by an exception.

    Raises ApiError: 409 for a serial or a seed that is here with another; as `holding.assign`.
    """
    staged = taken.entries
    with database.read() as connection:
        older = cards.has_old_graves(connection)
    for done in staged.seal(partial(cards.seal, ring, caller.firm_id, older=older)):
        tell("sealed", done, len(staged))
    try:
        return _once(database, ring, caller, taken, intent, now, tell)
    except IntegrityError:  # another was first: now it is seen what came in between
        return _once(database, ring, caller, taken, intent, now, tell)


def _once(
    database: Database,
    ring: ServerKeyRing,
    caller: Caller,
    taken: Taken,
    intent: Intent,
    now: float,
    tell: Told,
) -> TakenIn:
    done: list[TakenIn] = []
    try:
        with patient(), database.write() as connection:
            done.append(_take_in(connection, ring, caller, taken, intent, now, tell))
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
    tell: Told,
) -> TakenIn:
    staged, done, new = taken.entries, 0, False
    staged.forget_answers()
    work = cards.Registering(connection, ring, caller, now)
    not_assigned: list[tuple[int, str | None, ApiError]] = []
    for batch in batched(staged.sealed()):
        by_serial = {card.serial: card for card in batch}
        answers = []
        for answer in work.take(batch):
            card = by_serial[answer["serial"]]
            assigned = False
            if card.user and intent.assign:
                try:
                    assigned = _assign(connection, ring, caller, card, intent, now)
                except ApiError as error:
                    not_assigned.append((card.number, card.serial, error))
            new |= answer["status"] == cards.REGISTERED
            answers.append((card.number, answer["status"], answer["moving_factor"], assigned))
        staged.answer(answers)
        done += len(batch)
        tell("registered", done, len(staged))
        _refuse_many(work.problems, not_assigned)
    if work.problems and not intent.skip:
        raise entry_problems(work.problems)
    if not_assigned:
        raise entry_problems(not_assigned)
    return TakenIn(staged, [*taken.left_out, *entry_lines(work.problems)], new)


def _refuse_many(*problems: list[tuple[int, str | None, ApiError]]) -> None:
    """So many that nobody reads them all."""
    for found in problems:
        if len(found) > MOST_PROBLEMS:
            raise entry_problems(found)


def _assign(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    entry: SealedCard,
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
