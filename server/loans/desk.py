"""The loans desk: lend, return, replace, resynchronise, retire, each with the card in the hand.

A code of the card (`proof`) shows which card that is. Code and act are one
transaction. A function that returns an ApiError instead of a card has judged the codes and
refused: that holds as a guess, so the transaction is committed. What it raises changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.loans.proof import Codes, prove
from tallystick.server.stock.cards import describe, find, view
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.store.searching import containing
from tallystick.server.wording.worded import worded

Answer = dict[str, Any] | ApiError


class Whereabouts(StrEnum):
    """Where cards are. pool: in service and with nobody. overdue: lent, and the loan is over."""

    POOL = "pool"
    LENT = "lent"
    OVERDUE = "overdue"
    ASSIGNED = "assigned"
    LOST = "lost"
    RETIRED = "retired"


def listed(
    connection: Connection,
    caller: Caller,
    *,
    where: Whereabouts | None,
    text: str,
    after: str,
    limit: int,
    now: float,
) -> list[dict[str, Any]]:
    """Cards by serial number. text: part of the serial number, or of the holder's login or
    address."""
    query = _cards(caller).where(CardRow.serial > after).limit(limit)
    if where is not None:
        query = query.where(_CONDITIONS[where](int(now)))
    if text:
        query = query.where(containing(text, CardRow.serial, PersonRow.login, PersonRow.email))
    return [view(row, row.login, row.expires_at, now) for row in connection.execute(query)]


def held_by(
    connection: Connection, caller: Caller, person_id: int, now: float
) -> list[dict[str, Any]]:
    """What somebody has, and what is overdue."""
    query = _cards(caller).where(Assignment.person_id == person_id)
    return [view(row, row.login, row.expires_at, now) for row in connection.execute(query)]


def condition(where: Whereabouts, now: float) -> Any:
    """Of a card beside its assignment. now: seconds since 1970."""
    return _CONDITIONS[where](int(now))


def counts(connection: Connection, caller: Caller, now: float) -> dict[Whereabouts, int]:
    """How many cards are where."""
    found: dict[Whereabouts, int] = {}
    for where, condition in _CONDITIONS.items():
        query = (
            select(func.count())
            .select_from(CardRow)
            .outerjoin(Assignment, Assignment.card_id == CardRow.id)
            .where(CardRow.firm_id == caller.firm_id, condition(int(now)))
        )
        found[where] = connection.execute(query).scalar_one()
    return found


def in_pool(connection: Connection, firm_id: int, now: float) -> int:
    """How many cards could be lent."""
    query = (
        select(func.count())
        .select_from(CardRow)
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .where(CardRow.firm_id == firm_id, _CONDITIONS[Whereabouts.POOL](int(now)))
    )
    return connection.execute(query).scalar_one()


def _cards(caller: Caller) -> Any:
    return (
        select(*CardRow.__table__.columns, PersonRow.login, Assignment.expires_at)
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
        .where(CardRow.firm_id == caller.firm_id)
        .order_by(CardRow.serial)
    )


_IN_SERVICE = CardRow.status == CardStatus.REGISTERED.value
_CONDITIONS: dict[Whereabouts, Any] = {
    Whereabouts.POOL: lambda now: and_(_IN_SERVICE, Assignment.card_id.is_(None)),
    Whereabouts.LENT: lambda now: and_(_IN_SERVICE, Assignment.expires_at > now),
    Whereabouts.OVERDUE: lambda now: and_(
        CardRow.status != CardStatus.RETIRED.value, Assignment.expires_at <= now
    ),
    Whereabouts.ASSIGNED: lambda now: and_(
        _IN_SERVICE, Assignment.card_id.is_not(None), Assignment.expires_at.is_(None)
    ),
    Whereabouts.LOST: lambda now: CardRow.status == CardStatus.LOST.value,
    Whereabouts.RETIRED: lambda now: CardRow.status == CardStatus.RETIRED.value,
}


def lend(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    login: str,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    until: int | None = None,
) -> Answer:
    """As `holding.lend`, with the card's code. An overdue card may be lent again: it is here."""
    row = find(connection, caller, serial, lock=True)
    holding.loan_terms(connection, caller, row, login=login, policy=policy, now=now, until=until)
    proof = prove(connection, ring, caller, row, codes, policy, now, act="loan")
    if isinstance(proof, ApiError):
        return proof
    lent = holding.lend(
        connection, ring, caller, serial, login=login, policy=policy, now=now, until=until,
        facts=proof.facts(),
    )  # fmt: skip
    return lent | {"skipped": proof.skipped}


def assign(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    login: str,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
) -> Answer:
    """As `holding.assign`, to someone who is known, with the card's code."""
    row = find(connection, caller, serial, lock=True)
    holding.assign_terms(connection, caller, row, login=login, now=now)
    proof = prove(connection, ring, caller, row, codes, policy, now, act="assignment")
    if isinstance(proof, ApiError):
        return proof
    assigned = holding.assign(
        connection, ring, caller, serial, login=login, now=now, facts=proof.facts()
    )
    return assigned | {"skipped": proof.skipped}


def give_back(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    reason: str = "",
) -> Answer:
    """End a loan, also one that is overdue. reason: why the card gives no code. Raises ApiError:
    404; 409 for a card that is not lent, lost or retired."""
    row = find(connection, caller, serial, lock=True)
    holding.must_be_in_service(row)
    loan = connection.execute(
        select(Assignment.expires_at, Assignment.person_id).where(Assignment.card_id == row.id)
    ).one_or_none()
    if loan is None or loan.expires_at is None:
        held = worded("Card {serial} is not lent: nobody holds it.", serial=serial)
        if loan is not None:
            held = worded("Card {serial} is not lent: it is assigned for good.", serial=serial)
        raise ApiError(
            409,
            "not-lent",
            held,
            kept=NOTHING_CHANGED,
            todo="" if loan is None else "To take it back for good, an administrator ends that.",
        )
    proof = prove(connection, ring, caller, row, codes, policy, now, act="return", reason=reason)
    if isinstance(proof, ApiError):
        return proof
    connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    late = max(0, int(now) - loan.expires_at)
    was = people.get(connection, caller.firm_id, loan.person_id).login
    facts = {"of": was} | proof.facts()
    holding.note(connection, ring, caller, "card-returned", serial, now, overdue_s=late, **facts)
    what = worded("card {serial} was returned", serial=serial)
    if proof.reason:
        what = worded(
            "card {serial} was returned without a code of it ({reason})",
            serial=serial,
            reason=proof.reason,
        )
    holding.tell(connection, ring, caller, loan.person_id, what, now)
    return describe(connection, caller, serial, now) | {"skipped": proof.skipped}


def take_back(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    reason: str = "",
) -> Answer:
    """As `give_back`, also of a card that was assigned for good, or is lost. A card that nobody
    holds: no change."""
    row = find(connection, caller, serial, lock=True)
    held = connection.execute(
        select(Assignment.expires_at).where(Assignment.card_id == row.id)
    ).one_or_none()
    if held is None:
        return describe(connection, caller, serial, now)
    if held.expires_at is not None and row.status == CardStatus.REGISTERED:
        return give_back(
            connection, ring, caller, serial, codes=codes, policy=policy, now=now, reason=reason
        )
    proof = prove(connection, ring, caller, row, codes, policy, now, act="return", reason=reason)
    if isinstance(proof, ApiError):
        return proof
    back = holding.take_back(connection, ring, caller, serial, now=now, facts=proof.facts())
    return back | {"skipped": proof.skipped}


def replace(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    lost: str,
    *,
    by: str,
    codes: Codes,
    policy: FirmPolicy,
    now: float,
    until: int | None = None,
) -> Answer:
    """Report a card lost, and hand another, here in the hand, to the person who held it: on the
    same terms (for good, or to the end of the loan), or lent until a second given.

    → the new card. Raises ApiError: 404; 409 when nobody holds the lost one, or somebody the other.
    """
    if lost == by:
        raise ApiError(
            422, "same-card", "A card cannot replace itself.", kept=NOTHING_CHANGED,
            todo="Scan the new card.",
        )  # fmt: skip
    rows = {serial: find(connection, caller, serial, lock=True) for serial in sorted((lost, by))}
    holding.must_be_in_service(rows[by])
    holding.must_be_valid(rows[by], now)
    held = holding.holder(connection, rows[lost].id, now)
    if held is None or rows[lost].status == CardStatus.RETIRED:
        raise ApiError(
            409,
            "not-held",
            worded("Nobody holds card {lost} now.", lost=lost),
            kept=NOTHING_CHANGED,
            todo="Report it lost, and lend or assign another.",
        )
    holding.must_cover(caller, people.get(connection, caller.firm_id, held.person_id))
    if holding.holder(connection, rows[by].id, now) is not None:
        raise holding.held_already(by)
    expires_at = held.expires_at if until is None else holding.loan_end(policy, now, until)
    proof = prove(connection, ring, caller, rows[by], codes, policy, now, act="replacement")
    if isinstance(proof, ApiError):
        return proof
    holding.set_status(connection, ring, caller, lost, status=CardStatus.LOST, now=now)
    connection.execute(delete(Assignment).where(Assignment.card_id == rows[lost].id))
    holding.hand_over(
        connection, caller, rows[by].id, held.person_id, now=now, expires_at=expires_at
    )
    holding.tell_handed_over(
        connection, ring, caller, held.person_id, by, policy, now, until=expires_at, lost=lost
    )
    answer = describe(connection, caller, by, now)
    ends = {} if expires_at is None else {"until": expires_at}
    facts = {"to": answer["user"]} | ends
    holding.note(connection, ring, caller, "card-replaced", lost, now, by=by, **facts)
    given = "card-assigned" if expires_at is None else "card-lent"
    facts |= {"for": lost} | proof.facts()
    holding.note(connection, ring, caller, given, by, now, **facts)
    return answer | {"skipped": proof.skipped}


def resynchronise(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes,
    policy: FirmPolicy,
    now: float,
) -> Answer:
    """Find a drifted card's counter by two successive codes, whoever holds it."""
    row = find(connection, caller, serial, lock=True)
    holding.must_be_in_service(row)
    proof = prove(connection, ring, caller, row, codes, policy, now, act="resynchronisation")
    if isinstance(proof, ApiError):
        return proof
    holding.note(connection, ring, caller, "card-resynchronised", serial, now, **proof.facts())
    return describe(connection, caller, serial, now) | {"skipped": proof.skipped}


def retire(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    reason: str = "",
) -> Answer:
    """Retire a card for good; its holder has it no longer. reason: why it gives no code. A retired
    card: no change."""
    row = find(connection, caller, serial, lock=True)
    facts: dict[str, str | int] = {}
    if row.status != CardStatus.RETIRED:
        proof = prove(
            connection, ring, caller, row, codes, policy, now, act="retirement", reason=reason
        )
        if isinstance(proof, ApiError):
            return proof
        facts = proof.facts()
    return holding.set_status(
        connection, ring, caller, serial, status=CardStatus.RETIRED, now=now, facts=facts
    )
