"""Take the tokens of a file in: register them, and give them to the users that it names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from tallystick.server.accounts import credentials, people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.errors import ApiError, EntryProblem, entry_lines, entry_problems
from tallystick.server.loans import holding
from tallystick.server.stock import cards
from tallystick.server.stock.gathered import MOST_PROBLEMS, Taken, Told
from tallystick.server.stock.gathering import CardSeed, Judged, SealedCard
from tallystick.server.stock.staged import StagedEntries
from tallystick.server.store.audit import OwnChain, record
from tallystick.server.store.database import Database, StaleError, is_in_the_way, patient
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


FEW = 1000  # cards: of more, the entries of the audit log are a chain of their own
MOST_TRIES = 5


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
    """All of it, or nothing. Whatever takes long is done before the one transaction, so that others
    wait for that alone. tell: may end it all by an exception.

    Raises ApiError: 409 for a serial or a seed that is here with another; as `holding.assign`.
    """
    work = _Work(database, ring, caller, taken, intent, now, tell)
    with patient():
        for _ in range(MOST_TRIES - 1):
            try:
                return work.once()
            except StaleError:  # another was first: look again
                continue
            except DBAPIError as error:
                if not (isinstance(error, IntegrityError) or is_in_the_way(error)):
                    raise
        return work.once()


@dataclass
class _Work:
    database: Database
    ring: ServerKeyRing
    caller: Caller
    taken: Taken
    intent: Intent
    now: float
    tell: Told

    def once(self) -> TakenIn:
        """Raises StaleError, IntegrityError: what was looked at is not so any more."""
        staged, intent = self.taken.entries, self.intent
        work = cards.Registering(self.ring, self.caller, self.now)
        with self.database.read() as connection:
            older, mark = cards.has_old_graves(connection), cards.graves_mark(connection)

        def judge(batch: list[tuple[int, CardSeed]]) -> list[Judged]:
            sealed = [
                cards.seal(self.ring, self.caller.firm_id, number, entry, older=older)
                for number, entry in batch
            ]
            with self.database.read() as connection:
                judged = work.look(connection, sealed)
            _refuse_many(work.problems)
            return judged

        for done in staged.judge(judge):
            self.tell("sealed", done, len(staged))
        for number, serial in staged.same_seeds(cards.REGISTERED):
            work.refuse_seed(number, serial)
        if work.problems and not intent.skip:
            raise entry_problems(sorted(work.problems, key=lambda one: one[0]))
        new = staged.count(cards.REGISTERED)
        chain = OwnChain(self.ring, work.act(""))
        if new > FEW and not intent.dry_run:
            for done in staged.link(cards.REGISTERED, chain.link):
                self.tell("linked", done, len(staged))
        self.tell("registered", 0, new)
        same = (self.caller.firm_id, self.caller.id, int(self.now))
        come = work.gathered(staged.card_rows(cards.REGISTERED, *same))
        entries = chain.gathered(staged.linked_rows(chain.row(0, "")))
        try:
            with self.database.write(come, entries) as connection:
                credentials.must_still_be(connection, self.caller)
                if cards.graves_mark(connection) != mark:
                    raise StaleError
                come.insert(connection)
                if intent.assign:
                    self._assign(connection)
                if intent.dry_run:
                    raise _NotKeptError
                if new > FEW:
                    chain.write(connection, entries)
                elif new:
                    serials = (
                        one.card.serial for one in staged.judged() if one.status == cards.REGISTERED
                    )
                    record(connection, self.ring, [work.act(serial) for serial in serials])
        except _NotKeptError:
            pass
        left_out = [*self.taken.left_out, *entry_lines(work.problems)]
        return TakenIn(staged, left_out, new > 0)

    def _assign(self, connection: Connection) -> None:
        staged = self.taken.entries
        problems: list[tuple[int, str | None, ApiError]] = []
        for one in staged.judged():
            if not one.card.user:
                continue
            try:
                if _assign(connection, self.ring, self.caller, one.card, self.intent, self.now):
                    staged.assigned(one.card.number)
            except ApiError as error:
                problems.append((one.card.number, one.card.serial, error))
                _refuse_many(problems)
        if problems:
            raise entry_problems(problems)


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
