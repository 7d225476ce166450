"""Cards: register, describe, assign, delete. Every function runs in its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, insert, or_, select

from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import (
    NOTHING_CHANGED,
    ApiError,
    entry_problems,
    not_found,
)
from tallystick.server.rules.judge import CodeState, Generator
from tallystick.server.rules.throttle import Throttle
from tallystick.server.stock import tickets
from tallystick.server.stock.gathering import CardSeed, Judged, SealedCard
from tallystick.server.store.audit import Act, record
from tallystick.server.store.batches import BATCH, batched
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, DeskActRow, PersonRow, Tombstone
from tallystick.server.wording.worded import worded

REGISTERED = "registered"
ALREADY_REGISTERED = "already-registered"


def seed_binding(firm_id: int, serial: str) -> str:
    """What a stored seed is bound to (AES-GCM associated data)."""
    return f"tallystick/seed|{firm_id}|{serial}"


WRITTEN_COLUMNS = (
    "firm_id", "serial", "status", "moving_factor", "seed_key_id", "seed_box", "seed_fingerprint",
    "registered_by", "registered_at", "failures", "lockout_s", "blocked_until", "algorithm",
    "step_s", "digits", "drift", "valid_until",
)  # fmt: skip


def seal(
    ring: ServerKeyRing, firm_id: int, number: int, entry: CardSeed, *, older: bool
) -> SealedCard:
    """older: whether `has_old_graves`."""
    seed, algorithm = entry.seed.reveal(), entry.generator.algorithm
    return SealedCard(
        number,
        entry.serial,
        entry.moving_factor,
        entry.generator,
        entry.drift,
        entry.valid_until,
        entry.user,
        ring.fingerprint(seed, algorithm),
        ring.encrypt(seed, seed_binding(firm_id, entry.serial)),
        tuple(ring.fingerprints_as_given(seed, algorithm)) if older else (),
    )


def has_old_graves(connection: Connection) -> bool:
    """Whether there are tombstones of older versions. There never come new ones."""
    old = select(Tombstone.serial).where(Tombstone.as_given == 1)
    return connection.scalar(old.limit(1)) is not None


def register(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    entries: Sequence[CardSeed],
    now: float,
    *,
    ticket: str | None = None,
) -> list[dict[str, Any]]:
    """Register all entries or none. → per entry serial, status, digits, moving_factor. ticket: of
    a station's job.

    The same serial with the same seed by the same station is `already-registered` and unchanged.
    A seed that was here before starts no lower than where it stopped.
    Raises ApiError (409) for a serial with another seed, or a seed with another serial.
    """
    older = has_old_graves(connection)
    sealed = (
        seal(ring, caller.firm_id, number, entry, older=older)
        for number, entry in enumerate(entries, start=1)
    )
    work = Registering(ring, caller, now)
    answers: list[dict[str, Any]] = []
    for batch in batched(sealed):
        judged = work.look(connection, batch)
        if not work.problems:
            new = (work.row(one) for one in judged if one.status == REGISTERED)
            work.gathered(new).insert(connection)
        answers += [_answer(one) for one in judged]
    if work.problems:
        raise entry_problems(work.problems)
    come = [answer for answer in answers if answer["status"] == REGISTERED]
    if come and caller.role is Role.STATION:
        tickets.spend(connection, caller, ticket, come, now)
    if come:
        record(connection, ring, [work.act(answer["serial"]) for answer in come])
    return answers


@dataclass
class Registering:
    """Registers batch by batch. problems: entries that could not be, with their numbers."""

    ring: ServerKeyRing
    caller: Caller
    now: float
    problems: list[tuple[int, str | None, ApiError]] = field(default_factory=list)

    def look(self, connection: Connection, batch: Sequence[SealedCard]) -> list[Judged]:
        """What would become of each that can be registered."""
        caller = self.caller
        cards = _cards_like(connection, caller.firm_id, batch)
        graves = _graves_of(connection, batch)
        judged: list[Judged] = []
        new: set[bytes] = set()
        for card in batch:
            known, grave = cards.by_serial.get(card.serial), graves.get(card.fingerprint)
            if known is not None:
                if known.seed_fingerprint != card.fingerprint or known.registered_by != caller.id:
                    self.problems.append((card.number, card.serial, _duplicate_serial(card.serial)))
                    continue
                judged.append(Judged(card, ALREADY_REGISTERED, known.moving_factor))
                continue
            foreign_grave = grave is not None and not _same(grave, caller, card)
            if card.fingerprint in cards.fingerprints | new or foreign_grave:
                self.refuse_seed(card.number, card.serial)
                continue
            new.add(card.fingerprint)
            factor = max(card.moving_factor, grave.moving_factor if grave is not None else 0)
            judged.append(Judged(card, REGISTERED, factor))
        return judged

    def refuse_seed(self, number: int, serial: str) -> None:
        self.problems.append((number, serial, _duplicate_seed(serial)))

    @staticmethod
    def gathered(rows: Iterable[Sequence[Any]]) -> GatheredRows:
        """rows: of cards that are new, values of WRITTEN_COLUMNS."""
        return GatheredRows(CardRow.__table__, WRITTEN_COLUMNS, rows)

    def act(self, serial: str) -> Act:
        at_ms = int(self.now * 1000)
        return Act(at_ms, self.caller.firm_id, self.caller.id, "card-registered", serial)

    def row(self, one: Judged) -> tuple[Any, ...]:
        card, generator = one.card, one.card.generator
        return (
            self.caller.firm_id, card.serial, REGISTERED, one.factor, card.box.key_id,
            card.box.blob, card.fingerprint, self.caller.id, int(self.now), 0, 0, 0,
            generator.algorithm, generator.step_s, generator.digits, card.drift, card.valid_until,
        )  # fmt: skip


def graves_mark(connection: Connection) -> tuple[int, int]:
    """Is another whenever a tombstone has come, or starts at another counter: there are only more
    of them, and counters only grow."""
    query = select(func.count(), func.coalesce(func.sum(Tombstone.moving_factor), 0))
    count, factors = connection.execute(query.select_from(Tombstone)).one()
    return int(count), int(factors)


def describe(connection: Connection, caller: Caller, serial: str, now: float) -> dict[str, Any]:
    """A card as the API shows it. Stations see what they registered. Raises ApiError (404)."""
    row = find(connection, caller, serial)
    held = connection.execute(
        select(PersonRow.login, Assignment.expires_at)
        .join(Assignment, Assignment.person_id == PersonRow.id)
        .where(Assignment.card_id == row.id)
    ).one_or_none()
    return view(row, held.login if held else None, held.expires_at if held else None, now)


def view(row: AnyRow, login: str | None, expires_at: int | None, now: float) -> dict[str, Any]:
    """A card as the API shows it. login, expires_at: of its assignment row, if it has one."""
    over = expires_at is not None and expires_at <= int(now)
    return {
        "serial": row.serial,
        "type": generator_of(row).type,
        "status": row.status,
        "user": None if over else login,
        "loan_until": None if over else expires_at,
        "overdue_user": login if over else None,
        "overdue_since": expires_at if over else None,
        "registered_by": row.registered_by,
        "registered_at": row.registered_at,
        "digits": row.digits,
        "moving_factor": row.moving_factor,
    }


def remove(
    connection: Connection, ring: ServerKeyRing, caller: Caller, serial: str, now: float
) -> None:
    """Delete the card and its seed; serial, seed fingerprint and counter stay as a tombstone.

    Raises ApiError: 404; 409 when a station asks for a card that a user has used.
    """
    row = find(connection, caller, serial, lock=True)
    if caller.role is Role.STATION and row.last_used_at is not None:
        raise ApiError(
            409,
            "card-in-use",
            worded("Card {serial} has been used to log in.", serial=serial),
            kept=NOTHING_CHANGED,
            todo="An administrator may delete it.",
        )
    connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    connection.execute(delete(DeskActRow).where(DeskActRow.card_id == row.id))
    connection.execute(delete(CardRow).where(CardRow.id == row.id))
    connection.execute(delete(Tombstone).where(Tombstone.seed_fingerprint == row.seed_fingerprint))
    connection.execute(
        insert(Tombstone),
        {
            "seed_fingerprint": row.seed_fingerprint,
            "firm_id": caller.firm_id,
            "serial": serial,
            "moving_factor": row.moving_factor,
            "deleted_at": int(now),
        },
    )
    record(
        connection,
        ring,
        [Act(int(now * 1000), caller.firm_id, caller.id, "card-deleted", serial)],
    )


def live(now: float) -> Any:
    """SQL condition: the assignment holds at this second of the server's clock."""
    return or_(Assignment.expires_at.is_(None), Assignment.expires_at > int(now))


def meant(connection: Connection, caller: Caller, typed: str) -> str:
    """The serial number, as it is registered, of the card that somebody means: people who type one
    take no heed of capitals. What stands there counts first. What is unknown stays, and so does
    what a station says: that is a program."""
    if caller.role is Role.STATION:
        return typed
    of_firm = CardRow.firm_id == caller.firm_id
    forms = {typed, typed.upper(), typed.lower()}
    query = select(CardRow.serial).where(of_firm, CardRow.serial.in_(forms))
    found = set(connection.scalars(query))
    return found.pop() if len(found) == 1 else typed


def find(connection: Connection, caller: Caller, serial: str, *, lock: bool = False) -> AnyRow:
    query = select(*CardRow.__table__.columns).where(
        CardRow.firm_id == caller.firm_id, CardRow.serial == serial
    )
    if caller.role is Role.STATION:
        query = query.where(CardRow.registered_by == caller.id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise not_found(serial)
    return row


def staff(person_id: int, firm_id: int, name: str, role: PersonRole) -> Caller:
    """A person of the firm who acts on cards in the portal, as the caller of these functions: with
    the card in the hand, as at the desk."""
    return Caller(f"person:{person_id}", firm_id, Role.DESK, name, "", role)


def state_of(row: AnyRow) -> CodeState:
    """What judging a card's code reads of its row."""
    throttle = Throttle(row.failures, row.lockout_s, row.blocked_until)
    return CodeState(row.moving_factor, throttle, row.drift)


GENERATOR = (CardRow.algorithm, CardRow.step_s, CardRow.digits)


def generator_of(row: AnyRow) -> Generator:
    """How the card of a row, which has the columns GENERATOR, makes its codes."""
    return Generator(row.algorithm, row.step_s, row.digits)


class _Known:
    """Cards that share a serial (in the firm) or a seed (anywhere) with new entries."""

    def __init__(self) -> None:
        self.by_serial: dict[str, AnyRow] = {}
        self.fingerprints: set[bytes] = set()


def _cards_like(connection: Connection, firm_id: int, batch: Sequence[SealedCard]) -> _Known:
    known = _Known()
    columns = (
        CardRow.firm_id,
        CardRow.serial,
        CardRow.seed_fingerprint,
        CardRow.moving_factor,
        CardRow.registered_by,
    )
    same = or_(
        (CardRow.firm_id == firm_id) & CardRow.serial.in_([card.serial for card in batch]),
        CardRow.seed_fingerprint.in_([card.fingerprint for card in batch]),
    )
    for row in connection.execute(select(*columns).where(same)):
        known.fingerprints.add(row.seed_fingerprint)
        if row.firm_id == firm_id:
            known.by_serial[row.serial] = row
    return known


def _graves_of(connection: Connection, batch: Sequence[SealedCard]) -> dict[bytes, AnyRow]:
    """Tombstones by the fingerprint that their seed has today."""
    today = {given: card.fingerprint for card in batch for given in card.older}
    older = {today[given]: row for given, row in _graves(connection, list(today)).items()}
    return older | _graves(connection, [card.fingerprint for card in batch])


def _graves(connection: Connection, fingerprints: list[bytes]) -> dict[bytes, AnyRow]:
    graves: dict[bytes, AnyRow] = {}
    for chunk in batched(fingerprints, BATCH):
        query = select(
            Tombstone.seed_fingerprint,
            Tombstone.firm_id,
            Tombstone.serial,
            Tombstone.moving_factor,
        ).where(Tombstone.seed_fingerprint.in_(chunk))
        graves |= {row.seed_fingerprint: row for row in connection.execute(query)}
    return graves


def _same(grave: AnyRow, caller: Caller, card: SealedCard) -> bool:
    return bool(grave.firm_id == caller.firm_id and grave.serial == card.serial)


def _answer(one: Judged) -> dict[str, Any]:
    return {
        "serial": one.card.serial,
        "status": one.status,
        "digits": one.card.generator.digits,
        "moving_factor": one.factor,
    }


def _duplicate_serial(serial: str) -> ApiError:
    return ApiError(
        409,
        "duplicate-serial",
        worded(
            "Serial {serial} is registered already, with another seed or by another station.",
            serial=serial,
        ),
        kept="The registered card was not changed; none of the container was registered.",
        todo="If the card was wiped on purpose, delete the old registration first.",
    )


def _duplicate_seed(serial: str) -> ApiError:
    return ApiError(
        409,
        "duplicate-seed",
        worded("The seed of {serial} belongs, or belonged, to another card.", serial=serial),
        kept="None of the container was registered.",
        todo="Make a new seed for this card: two cards must never share one.",
    )
