"""The loans desk: lend, return, replace, resynchronise, retire, each with the card in the hand.

A code of the card (two, when it has drifted) proves which card that is. Code and act are one
transaction. A function that returns an ApiError instead of a card has judged the codes and
refused: that holds as a guess, so the transaction is committed. What it raises changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, and_, delete, select

from tallystick.server.accounts import people
from tallystick.server.accounts.credentials import Caller, Role
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.server.checking.proof import judge_card
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.loans import holding
from tallystick.server.loans.holding import CardStatus
from tallystick.server.rules.judge import Judgement, Reason
from tallystick.server.stock.cards import describe, find, generator_of, view
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow, PersonRow

Codes = tuple[str, ...]
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
    """Cards by serial number. text: part of the serial number or of the holder's login."""
    query = (
        select(*CardRow.__table__.columns, PersonRow.login, Assignment.expires_at)
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
        .where(CardRow.firm_id == caller.firm_id, CardRow.serial > after)
        .order_by(CardRow.serial)
        .limit(limit)
    )
    if where is not None:
        query = query.where(_CONDITIONS[where](int(now)))
    if text:
        part = f"%{_escaped(text)}%"
        query = query.where(
            CardRow.serial.ilike(part, escape="\\") | PersonRow.login.ilike(part, escape="\\")
        )
    return [view(row, row.login, row.expires_at, now) for row in connection.execute(query)]


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


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


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
    refusal = prove(connection, ring, caller, row, codes, policy, now, act="loan")
    return refusal or holding.lend(
        connection, ring, caller, serial, login=login, policy=policy, now=now, until=until
    )


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
    refusal = prove(connection, ring, caller, row, codes, policy, now, act="assignment")
    return refusal or holding.assign(connection, ring, caller, serial, login=login, now=now)


def give_back(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes,
    policy: FirmPolicy,
    now: float,
) -> Answer:
    """End a loan, also one that is overdue. Raises ApiError: 404; 409 for a card that is not lent,
    lost or retired."""
    row = find(connection, caller, serial, lock=True)
    holding.must_be_in_service(row)
    loan = connection.execute(
        select(Assignment.expires_at, Assignment.person_id).where(Assignment.card_id == row.id)
    ).one_or_none()
    if loan is None or loan.expires_at is None:
        held = "nobody holds it" if loan is None else "it is assigned for good"
        raise ApiError(
            409,
            "not-lent",
            f"Card {serial} is not lent: {held}.",
            kept=NOTHING_CHANGED,
            todo="" if loan is None else "To take it back for good, an administrator ends that.",
        )
    refusal = prove(connection, ring, caller, row, codes, policy, now, act="return")
    if refusal is not None:
        return refusal
    connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    late = max(0, int(now) - loan.expires_at)
    holding.note(connection, ring, caller, "card-returned", serial, now, overdue_s=late)
    holding.tell(connection, ring, caller, loan.person_id, f"card {serial} was returned", now)
    return describe(connection, caller, serial, now)


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
            f"Nobody holds card {lost} now.",
            kept=NOTHING_CHANGED,
            todo="Report it lost, and lend or assign another.",
        )
    holding.must_cover(caller, people.get(connection, caller.firm_id, held.person_id))
    if holding.holder(connection, rows[by].id, now) is not None:
        raise holding.held_already(by)
    expires_at = held.expires_at if until is None else holding.loan_end(policy, now, until)
    refusal = prove(connection, ring, caller, rows[by], codes, policy, now, act="replacement")
    if refusal is not None:
        return refusal
    holding.set_status(connection, ring, caller, lost, status=CardStatus.LOST, now=now)
    connection.execute(delete(Assignment).where(Assignment.card_id == rows[lost].id))
    holding.hand_over(
        connection, caller, rows[by].id, held.person_id, now=now, expires_at=expires_at
    )
    holding.tell(
        connection, ring, caller, held.person_id, f"card {by} was given to you for {lost}", now
    )
    answer = describe(connection, caller, by, now)
    ends = {} if expires_at is None else {"until": expires_at}
    holding.note(
        connection, ring, caller, "card-replaced", lost, now, by=by, to=answer["user"], **ends
    )
    return answer


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
    refusal = prove(connection, ring, caller, row, codes, policy, now, act="resynchronisation")
    if refusal is None:
        holding.note(connection, ring, caller, "card-resynchronised", serial, now)
    return refusal or describe(connection, caller, serial, now)


def retire(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
) -> Answer:
    """Retire a card for good; its holder has it no longer. A retired card: no change."""
    row = find(connection, caller, serial, lock=True)
    if row.status != CardStatus.RETIRED:
        refusal = prove(connection, ring, caller, row, codes, policy, now, act="retirement")
        if refusal is not None:
            return refusal
    return holding.set_status(connection, ring, caller, serial, status=CardStatus.RETIRED, now=now)


def prove(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    row: AnyRow,
    codes: Codes | None,
    policy: FirmPolicy,
    now: float,
    *,
    act: str,
) -> ApiError | None:
    """None when the codes are the card's. An administrator may do without any.

    Raises ApiError (422) for no code or one of the wrong length: no guess is counted.
    """
    if codes is None and caller.role is Role.ADMIN:
        return None
    if codes is None:
        raise _no_code(row)
    if not generator_of(row).fits(codes):
        raise _wrong_length(row)
    verdict = judge_card(connection, ring, row, codes, policy, now)
    if verdict.reason is Reason.OK:
        return None
    detail = {"for": act, "reason": verdict.reason.value}
    refused = Act(
        int(now * 1000), caller.firm_id, caller.id, "card-code-refused", row.serial, detail
    )
    record(connection, ring, [refused])
    return _refusal(row.serial, verdict)


def _no_code(row: AnyRow) -> ApiError:
    return ApiError(
        422,
        "code-needed",
        f"This needs a code of card {row.serial}.",
        kept=NOTHING_CHANGED,
        todo="Press the card's button and type the code on its display.",
    )


def _wrong_length(row: AnyRow) -> ApiError:
    digits = generator_of(row).digits
    return ApiError(
        422,
        "wrong-length",
        f"The codes of card {row.serial} have {digits} digits.",
        kept="Nothing was changed, nor counted as a guess.",
        todo=f"Type all {digits} digits.",
    )


def _refusal(serial: str, verdict: Judgement) -> ApiError:
    code, status, what, todo = {
        Reason.WRONG: (
            "wrong-code",
            409,
            f"This code is not one of card {serial}.",
            "Compare the serial number on the card's back with the one scanned, press its button "
            "and type the new code.",
        ),
        Reason.REPLAYED: (
            "replayed-code",
            409,
            f"This code of card {serial} was used before.",
            "Press the card's button again when its display is dark, and type the new code.",
        ),
        Reason.RESYNCHRONISE: (
            "card-drifted",
            409,
            f"Card {serial} was pressed so often that the server has lost count.",
            "Press its button twice and give both codes, one after the other.",
        ),
        Reason.THROTTLED: (
            "throttled",
            429,
            f"Too many wrong codes of card {serial}: the next is looked at in "
            f"{verdict.retry_after_s} s.",
            "Wait, or have the lock-out lifted.",
        ),
    }[verdict.reason]
    return ApiError(status, code, what, kept="Who holds the card was not changed.", todo=todo)
