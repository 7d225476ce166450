"""Who holds a card: assigned for good, lent for a while, taken back, lost, retired.

A loan is one row with its end in it. At that second of the server's clock it is over: nothing has
to run for that, and when the card is assigned or lent again the old row goes first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server import people, rates
from tallystick.server.audit import Act, record
from tallystick.server.cards import REGISTERED, describe, find, live, seed_binding
from tallystick.server.credentials import Caller
from tallystick.server.database import AnyRow, StaleError
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.judge import CodeState, Reason, judge
from tallystick.server.keys import Box, KeyRing
from tallystick.server.methods.base import Verdict
from tallystick.server.models import Assignment, Card
from tallystick.server.policy import FirmPolicy
from tallystick.server.throttle import Throttle

CLAIMS_PER_HOUR = 20


class CardStatus(StrEnum):
    """registered: in use, or ready for it. lost: verifies nothing, and may be found again.
    retired: verifies nothing for good, and belongs to nobody."""

    REGISTERED = REGISTERED
    LOST = "lost"
    RETIRED = "retired"


def assign(
    connection: Connection, ring: KeyRing, caller: Caller, serial: str, *, login: str, now: float
) -> dict[str, Any]:
    """Give the card to a user, made known here if new. Again to the same user: no change.

    Raises ApiError: 404; 409 when another user holds it, or it is lost or retired.
    """
    row = find(connection, caller, serial, lock=True)
    _must_be_in_service(row)
    person_id = people.ensure(connection, caller.firm_id, login, now)
    held = _holder(connection, row.id, now)
    if held is not None and (held.person_id != person_id or held.expires_at is not None):
        raise _held_already(serial)
    if held is None:
        _hand_over(connection, caller, row.id, person_id, now=now, expires_at=None)
        _record(connection, ring, caller, "card-assigned", serial, now, to=login)
    return describe(connection, caller, serial, now)


def lend(
    connection: Connection,
    ring: KeyRing,
    caller: Caller,
    serial: str,
    *,
    login: str,
    policy: FirmPolicy,
    now: float,
    until: int | None = None,
) -> dict[str, Any]:
    """Lend a card that nobody holds, until a second given (since 1970) or the end of the firm's
    working day. One call does all of it, or nothing.

    Raises ApiError: 404 for card or user; 409 when somebody holds it; 422 for an end in the past
    or further off than policy allows.
    """
    row = find(connection, caller, serial, lock=True)
    _must_be_in_service(row)
    person = people.by_login(connection, caller.firm_id, login)
    if _holder(connection, row.id, now) is not None:
        raise _held_already(serial)
    end = until if until is not None else end_of_day(policy, now)
    if not int(now) < end <= int(now) + policy.loan_max_hours * 3600:
        raise ApiError(
            422,
            "bad-loan",
            f"A loan ends in the future, within {policy.loan_max_hours} hours.",
            kept=NOTHING_CHANGED,
            todo="Choose another end.",
        )
    _hand_over(connection, caller, row.id, person.id, now=now, expires_at=end)
    _record(connection, ring, caller, "card-lent", serial, now, to=login, until=end)
    return describe(connection, caller, serial, now)


def end_of_day(policy: FirmPolicy, now: float) -> int:
    """The next end of the firm's working day, in seconds since 1970."""
    zone = ZoneInfo(policy.time_zone)
    local = datetime.fromtimestamp(now, UTC).astimezone(zone)
    end = datetime.combine(local.date(), policy.day_ends, zone)
    if end <= local:
        end = datetime.combine(local.date() + timedelta(days=1), policy.day_ends, zone)
    return int(end.timestamp())


def take_back(
    connection: Connection,
    ring: KeyRing,
    caller: Caller,
    serial: str,
    *,
    now: float,
    from_person: int | None = None,
) -> dict[str, Any]:
    """End an assignment or a loan. A card that nobody holds: no change.

    from_person: only if this person holds it. Raises ApiError (404).
    """
    row = find(connection, caller, serial, lock=True)
    held = _holder(connection, row.id, now)
    if from_person is not None and (held is None or held.person_id != from_person):
        raise ApiError(404, "no-such-method", "This card is not yours.", kept=NOTHING_CHANGED)
    connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    if held is not None:
        _record(connection, ring, caller, "card-taken-back", serial, now)
    return describe(connection, caller, serial, now)


def set_status(
    connection: Connection,
    ring: KeyRing,
    caller: Caller,
    serial: str,
    *,
    status: CardStatus,
    now: float,
) -> dict[str, Any]:
    """Report a card lost, found again, or retire it (which also takes it back).

    Raises ApiError: 404; 409 for a retired card, which stays so.
    """
    row = find(connection, caller, serial, lock=True)
    if row.status == CardStatus.RETIRED and status is not CardStatus.RETIRED:
        raise ApiError(409, "card-retired", f"Card {serial} is retired.", kept=NOTHING_CHANGED)
    if row.status != status:
        connection.execute(update(Card).where(Card.id == row.id).values(status=status.value))
        _record(connection, ring, caller, f"card-{status.value}", serial, now)
    if status is CardStatus.RETIRED:
        connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    return describe(connection, caller, serial, now)


def unlock(
    connection: Connection, ring: KeyRing, caller: Caller, serial: str, *, now: float
) -> None:
    """Lift a card's lock-out: its next guess is evaluated at once. Raises ApiError (404)."""
    row = find(connection, caller, serial, lock=True)
    connection.execute(
        update(Card).where(Card.id == row.id).values(failures=0, lockout_s=0, blocked_until=0)
    )
    _record(connection, ring, caller, "card-unlocked", serial, now)


def claim(
    connection: Connection,
    ring: KeyRing,
    caller: Caller,
    serial: str,
    *,
    person_id: int,
    codes: tuple[str, str],
    policy: FirmPolicy,
    now: float,
) -> Verdict:
    """A user makes a card that nobody holds his own, by two successive codes of it.

    An unknown card and one that another user holds are answered like a wrong code.
    Raises ApiError (429), StaleError.
    """
    rates.take(
        connection,
        f"claim|{person_id}",
        limit=CLAIMS_PER_HOUR,
        window_s=3600,
        now=now,
        what="tries to enrol a card in this hour",
    )
    row = connection.execute(
        select(*Card.__table__.columns)
        .where(Card.firm_id == caller.firm_id, Card.serial == serial)
        .with_for_update()
    ).one_or_none()
    usable = row is not None and row.status == REGISTERED
    if row is None or not usable or _holder(connection, row.id, now) is not None:
        return Verdict(Reason.WRONG)
    if not all(c.isascii() and c.isdigit() and len(c) == row.digits for c in codes):
        return Verdict(Reason.WRONG)
    seed = ring.decrypt(Box(row.seed_key_id, row.seed_box), seed_binding(caller.firm_id, serial))
    state = CodeState(row.moving_factor, Throttle(row.failures, row.lockout_s, row.blocked_until))
    verdict = judge(seed, state, codes, policy.codes(), int(now))
    moved = connection.execute(
        update(Card)
        .where(Card.id == row.id, Card.moving_factor == row.moving_factor)
        .values(
            moving_factor=verdict.state.moving_factor,
            failures=verdict.state.throttle.failures,
            lockout_s=verdict.state.throttle.lockout_s,
            blocked_until=verdict.state.throttle.blocked_until,
        )
    )
    if moved.rowcount != 1:
        raise StaleError
    if verdict.reason is Reason.OK:
        _hand_over(connection, caller, row.id, person_id, now=now, expires_at=None)
        _record(connection, ring, caller, "card-claimed", serial, now)
    return Verdict(verdict.reason, verdict.retry_after_s)


def _holder(connection: Connection, card_id: int, now: float) -> AnyRow | None:
    return connection.execute(
        select(Assignment.person_id, Assignment.expires_at).where(
            Assignment.card_id == card_id, live(now)
        )
    ).one_or_none()


def _hand_over(
    connection: Connection,
    caller: Caller,
    card_id: int,
    person_id: int,
    *,
    now: float,
    expires_at: int | None,
) -> None:
    connection.execute(delete(Assignment).where(Assignment.card_id == card_id))
    connection.execute(
        insert(Assignment),
        {
            "card_id": card_id,
            "person_id": person_id,
            "assigned_at": int(now),
            "assigned_by": caller.id,
            "expires_at": expires_at,
        },
    )
    people.note_enrolment(connection, person_id, now)


def _record(
    connection: Connection,
    ring: KeyRing,
    caller: Caller,
    action: str,
    serial: str,
    now: float,
    **detail: str | int,
) -> None:
    act = Act(int(now * 1000), caller.firm_id, caller.id, action, serial, detail)
    record(connection, ring, [act])


def _must_be_in_service(row: AnyRow) -> None:
    if row.status != REGISTERED:
        raise ApiError(
            409,
            f"card-{row.status}",
            f"Card {row.serial} is {row.status}.",
            kept=NOTHING_CHANGED,
            todo="Use another card.",
        )


def _held_already(serial: str) -> ApiError:
    return ApiError(
        409,
        "already-assigned",
        f"Card {serial} is assigned to another user, or lent.",
        kept="The assignment stays as it is.",
        todo="Take the card back first, or use another card.",
    )
