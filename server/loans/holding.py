"""Who holds a card: assigned for good, lent for a while, taken back, lost, retired.

A loan is one row with its end in it. At that second of the server's clock it is over: nothing has
to run for that. The row stays, so that an overdue card is known, until the card is returned, lent
again (which proves that it is back), assigned or retired.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.common.moments import how_long
from tallystick.server.accounts import firms, people
from tallystick.server.accounts.credentials import Caller
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import FirmPolicy, PersonRole
from tallystick.server.accounts.rights import covers, needs_more_rights, role_of
from tallystick.server.checking.proof import judge_card
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.messages import letters, notices
from tallystick.server.rules.judge import Reason, Verdict
from tallystick.server.stock.cards import REGISTERED, describe, find, generator_of, live, meant
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Assignment, CardRow
from tallystick.server.wording.worded import Worded, WordedMoment, worded

SHORTEST_DAY_S = 30 * 60  # a loan for the day is not over as soon as it is made
FAR = 253_370_764_800  # the year 9999: what is later has no name in a calendar
CLAIMS_PER_HOUR = 20
UNLOCKS_PER_DAY = 10  # each gives as many guesses as policy allows: no endless supply of them


class CardStatus(StrEnum):
    """registered: in use, or ready for it. lost: verifies nothing, and may be found again.
    retired: verifies nothing for good, and belongs to nobody."""

    REGISTERED = REGISTERED
    LOST = "lost"
    RETIRED = "retired"


def assign(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    login: str,
    now: float,
    new_user: bool = False,
    facts: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Give the card to a user. Again to the same user: no change. new_user: make the user known
    here if there is none of this name. facts: more for the audit log.

    Raises ApiError: 403 for a user with more rights; 404; 409 when another user holds it, or it is
    lost or retired.
    """
    row = find(connection, caller, serial, lock=True)
    if new_user and people.find(connection, caller.firm_id, login) is None:
        people.ensure(connection, caller.firm_id, login, now)
        note(connection, ring, caller, "person-added", login, now, role=PersonRole.USER.value)
    person = assign_terms(connection, caller, row, login=login, now=now)
    if holder(connection, row.id, now) is None:
        hand_over(connection, caller, row.id, person.id, now=now, expires_at=None)
        more: dict[str, str | int] = {"to": person.login, **(facts or {})}
        note(connection, ring, caller, "card-assigned", serial, now, **more)
        policy = firms.by_id(connection, caller.firm_id).policy
        tell_handed_over(connection, ring, caller, person.id, serial, policy, now, until=None)
    return describe(connection, caller, serial, now)


def assign_terms(
    connection: Connection, caller: Caller, row: AnyRow, *, login: str, now: float
) -> KnownPerson:
    """Whether the card may be assigned so. → to whom. Raises as `assign`."""
    must_be_in_service(row)
    must_be_valid(row, now)
    person = people.meant(connection, caller.firm_id, login)
    must_cover(caller, person)
    held = holder(connection, row.id, now)
    if held is not None and (held.person_id != person.id or held.expires_at is not None):
        raise held_already(row.serial)
    return person


def must_cover(caller: Caller, person: KnownPerson) -> None:
    """Whoever hands a card to someone could also use it as his: that needs his rights. Raises
    ApiError (403)."""
    if not covers(role_of(caller), other=person.role):
        raise needs_more_rights(person.login)


def lend(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    login: str,
    policy: FirmPolicy,
    now: float,
    until: int | None = None,
    facts: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Lend a card that nobody holds, until a second given (since 1970) or the end of the firm's
    working day. One call does all of it, or nothing.

    Raises ApiError: 403 for a user with more rights; 404 for card or user; 409 when somebody holds
    it; 422 for an end in the past or further off than policy allows.
    """
    row = find(connection, caller, serial, lock=True)
    person_id, end = loan_terms(
        connection, caller, row, login=login, policy=policy, now=now, until=until
    )
    hand_over(connection, caller, row.id, person_id, now=now, expires_at=end)
    to = people.get(connection, caller.firm_id, person_id).login
    more: dict[str, str | int] = {"to": to, "until": end, **(facts or {})}
    note(connection, ring, caller, "card-lent", serial, now, **more)
    tell_handed_over(connection, ring, caller, person_id, serial, policy, now, until=end)
    return describe(connection, caller, serial, now)


def loan_terms(
    connection: Connection,
    caller: Caller,
    row: AnyRow,
    *,
    login: str,
    policy: FirmPolicy,
    now: float,
    until: int | None,
) -> tuple[int, int]:
    """Whether the card may be lent so: to which person (id), and until when. Raises as `lend`."""
    must_be_in_service(row)
    must_be_valid(row, now)
    person = people.meant(connection, row.firm_id, login)
    if person.disabled:
        raise ApiError(
            409,
            "user-disabled",
            worded("The account of {login} is disabled.", login=login),
            kept=NOTHING_CHANGED,
            todo="An administrator may enable it again.",
        )
    must_cover(caller, person)
    if holder(connection, row.id, now) is not None:
        raise held_already(row.serial)
    return person.id, loan_end(policy, now, until)


def loan_end(policy: FirmPolicy, now: float, until: int | None) -> int:
    """The end asked for, or of the working day, in seconds since 1970. Raises ApiError (422) when
    policy forbids it."""
    end = until if until is not None else end_of_day(policy, now)
    latest = int(now) + policy.loan_max_hours * 3600
    if not int(now) < end <= latest:
        zone = ZoneInfo(policy.time_zone)
        when = WordedMoment.at(min(end, FAR), zone)
        what = worded("{when} is over already.", when=when)
        if end > now:
            what = worded("{when} is further off than a loan may last.", when=when)
        raise ApiError(
            422,
            "bad-loan",
            what,
            kept=NOTHING_CHANGED,
            todo=worded(
                "Choose an end from now until {latest} ({length} at most; the firm's policy "
                "says so).",
                latest=WordedMoment.at(latest, zone),
                length=how_long(policy.loan_max_hours * 3600),
            ),
        )
    return end


def end_of_day(policy: FirmPolicy, now: float) -> int:
    """The next end of the firm's working day that is worth lending a card for, in seconds since
    1970: just before one, the next day's is meant."""
    zone = ZoneInfo(policy.time_zone)
    day = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    while True:
        end = int(datetime.combine(day, policy.day_ends, zone).timestamp())
        if end > now + SHORTEST_DAY_S:
            return end
        day += timedelta(days=1)


def take_back(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    now: float,
    from_person: int | None = None,
    facts: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """End an assignment or a loan. A card that nobody holds: no change.

    from_person: only if this person holds it, and for good: what was lent is given back at the
    desk. Raises ApiError: 404, 409.
    """
    row = find(connection, caller, serial, lock=True)
    held = holder(connection, row.id, now)
    if from_person is not None and (held is None or held.person_id != from_person):
        raise ApiError(404, "no-such-method", "This card is not yours.", kept=NOTHING_CHANGED)
    if from_person is not None and held is not None and held.expires_at is not None:
        raise ApiError(
            409,
            "card-lent",
            worded("Card {serial} is lent to you.", serial=serial),
            kept="The loan stays.",
            todo="Give the card back at the desk: that ends the loan.",
        )
    had = connection.scalar(select(Assignment.person_id).where(Assignment.card_id == row.id))
    if had is not None:
        connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
        was = {"of": people.get(connection, caller.firm_id, had).login} | dict(facts or {})
        note(connection, ring, caller, "card-taken-back", serial, now, **was)
    if held is not None and from_person is None:
        tell(
            connection,
            ring,
            caller,
            held.person_id,
            worded("card {serial} was taken back", serial=serial),
            now,
        )
    return describe(connection, caller, serial, now)


def set_status(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    status: CardStatus,
    now: float,
    facts: Mapping[str, str | int] | None = None,
) -> dict[str, Any]:
    """Report a card lost, found again, or retire it (which also takes it back). facts: more for the
    audit log.

    One that is found again is as good as handed out: to someone with more rights it is not, and it
    recovers nothing before its holder has confirmed it anew. Raises ApiError: 403; 404; 409 for a
    retired card, which stays so.
    """
    row = find(connection, caller, serial, lock=True)
    if row.status == CardStatus.RETIRED and status is not CardStatus.RETIRED:
        raise ApiError(
            409,
            "card-retired",
            worded("Card {serial} is retired.", serial=serial),
            kept=NOTHING_CHANGED,
        )
    if row.status == CardStatus.LOST and status is CardStatus.REGISTERED:
        _hand_over_again(connection, caller, row)
    if row.status != status:
        connection.execute(update(CardRow).where(CardRow.id == row.id).values(status=status.value))
        had = connection.scalar(select(Assignment.person_id).where(Assignment.card_id == row.id))
        of = {} if had is None else {"of": people.get(connection, caller.firm_id, had).login}
        act = "found" if status is CardStatus.REGISTERED else status.value
        note(connection, ring, caller, f"card-{act}", serial, now, **of, **(facts or {}))
        held = holder(connection, row.id, now)
        if held is not None:
            what = {
                "found": worded("card {serial} was reported found", serial=serial),
                "lost": worded("card {serial} was reported lost", serial=serial),
                "retired": worded("card {serial} was retired", serial=serial),
            }[act]
            tell(connection, ring, caller, held.person_id, what, now)
    if status is CardStatus.RETIRED:
        connection.execute(delete(Assignment).where(Assignment.card_id == row.id))
    return describe(connection, caller, serial, now)


def _hand_over_again(connection: Connection, caller: Caller, row: AnyRow) -> None:
    mine = Assignment.card_id == row.id
    person_id = connection.scalar(select(Assignment.person_id).where(mine))
    if person_id is not None:
        must_cover(caller, people.get(connection, caller.firm_id, person_id))
        connection.execute(update(Assignment).where(mine).values(confirmed_at=None))


def unlock(
    connection: Connection, ring: ServerKeyRing, caller: Caller, serial: str, *, now: float
) -> None:
    """Lift a card's lock-out: its next guess is evaluated at once. Raises ApiError: 404, 429."""
    row = find(connection, caller, serial, lock=True)
    rates.take(
        connection,
        f"unlock-card|{row.id}",
        limit=UNLOCKS_PER_DAY,
        window_s=86400,
        now=now,
        what=worded("lock-outs of this card were lifted today"),
    )
    connection.execute(
        update(CardRow).where(CardRow.id == row.id).values(failures=0, lockout_s=0, blocked_until=0)
    )
    note(connection, ring, caller, "card-unlocked", serial, now)


def any_locked(connection: Connection, person_id: int, now: int) -> bool:
    """Whether a card that somebody holds is."""
    query = select(CardRow.id).join(Assignment, Assignment.card_id == CardRow.id)
    query = query.where(Assignment.person_id == person_id, CardRow.blocked_until > now)
    return connection.scalar(query.limit(1)) is not None


def unlock_all_of(connection: Connection, person_id: int) -> None:
    """Of the cards that somebody holds, whoever has locked them."""
    held = select(Assignment.card_id).where(Assignment.person_id == person_id)
    connection.execute(
        update(CardRow).where(CardRow.id.in_(held)).values(failures=0, lockout_s=0, blocked_until=0)
    )


def claim(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    serial: str,
    *,
    person_id: int,
    codes: tuple[str, str],
    policy: FirmPolicy,
    now: float,
) -> Verdict:
    """A user makes a card that nobody holds his own, by two successive codes of it. One that is
    overdue has to go back to the desk first: whoever borrowed it does not keep it.

    An unknown card and one that another user holds are answered like a wrong code.
    Raises ApiError (429), StaleError.
    """
    rates.take(
        connection,
        f"claim|{person_id}",
        limit=CLAIMS_PER_HOUR,
        window_s=3600,
        now=now,
        what=worded("tries to enrol a card in this hour"),
    )
    serial = meant(connection, caller, serial)
    row = connection.execute(
        select(*CardRow.__table__.columns)
        .where(CardRow.firm_id == caller.firm_id, CardRow.serial == serial)
        .with_for_update()
    ).one_or_none()
    usable = row is not None and row.status == REGISTERED and not _expired(row, now)

    def refused(reason: Reason, retry_after_s: int = 0) -> Verdict:
        facts = {"for": "enrolment", "reason": reason.value}
        note(connection, ring, caller, "card-code-refused", serial[:64], now, **facts)
        return Verdict(reason, retry_after_s)

    if row is None or not usable or _is_out(connection, row.id):
        return refused(Reason.WRONG)
    if not generator_of(row).fits(codes):
        return refused(Reason.WRONG)
    verdict = judge_card(connection, ring, row, codes, policy, now)
    if verdict.reason is not Reason.OK:
        return refused(verdict.reason, verdict.retry_after_s)
    hand_over(connection, caller, row.id, person_id, now=now, expires_at=None, confirmed=True)
    note(connection, ring, caller, "card-claimed", serial, now)
    connection.execute(update(CardRow).where(CardRow.id == row.id).values(last_used_at=int(now)))
    return Verdict(verdict.reason)


def holder(connection: Connection, card_id: int, now: float) -> AnyRow | None:
    return connection.execute(
        select(Assignment.person_id, Assignment.expires_at).where(
            Assignment.card_id == card_id, live(now)
        )
    ).one_or_none()


def _is_out(connection: Connection, card_id: int) -> bool:
    """Somebody holds it, or should have brought it back."""
    query = select(Assignment.card_id).where(Assignment.card_id == card_id)
    return connection.scalar(query) is not None


def hand_over(
    connection: Connection,
    caller: Caller,
    card_id: int,
    person_id: int,
    *,
    now: float,
    expires_at: int | None,
    confirmed: bool = False,
) -> None:
    """confirmed: its holder has shown it, beside another factor."""
    connection.execute(delete(Assignment).where(Assignment.card_id == card_id))
    connection.execute(
        insert(Assignment),
        {
            "card_id": card_id,
            "person_id": person_id,
            "assigned_at": int(now),
            "assigned_by": caller.id,
            "expires_at": expires_at,
            "confirmed_at": int(now) if confirmed else None,
        },
    )
    people.note_enrolment(connection, person_id, now)


def confirm(connection: Connection, firm_id: int, serial: str, person_id: int, now: float) -> None:
    """Its holder has shown the card together with another factor: it may recover from now on."""
    of_firm = select(CardRow.id).where(CardRow.firm_id == firm_id, CardRow.serial == serial)
    connection.execute(
        update(Assignment)
        .where(
            Assignment.card_id.in_(of_firm),
            Assignment.person_id == person_id,
            Assignment.confirmed_at.is_(None),
        )
        .values(confirmed_at=int(now))
    )


def note(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    action: str,
    serial: str,
    now: float,
    **detail: str | int,
) -> None:
    act = Act(int(now * 1000), caller.firm_id, caller.id, action, serial, detail)
    record(connection, ring, [act])


def tell(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    person_id: int,
    what: Worded,
    now: float,
) -> None:
    """A notice to someone about a card of his. what: ends "In your account at FIRM, …"."""
    firm = firms.by_id(connection, caller.firm_id)
    notices.notify(
        connection,
        ring,
        firm=firm.name,
        policy=firm.policy,
        person=people.get(connection, firm.id, person_id),
        what=what,
        now=now,
    )


def tell_handed_over(
    connection: Connection,
    ring: ServerKeyRing,
    caller: Caller,
    person_id: int,
    serial: str,
    policy: FirmPolicy,
    now: float,
    *,
    until: int | None,
    lost: str = "",
) -> None:
    """To whoever has a card now: until when, how it is used, where it comes back. lost: in place of
    which card."""
    firm = firms.by_id(connection, caller.firm_id)
    person = people.get(connection, firm.id, person_id)
    letters.handed_over(
        connection, ring, letters.Sender(firm.name, policy), person, serial, now,
        until=until, lost=lost,
    )  # fmt: skip


def must_be_in_service(row: AnyRow) -> None:
    """Raises ApiError (409) for a card that is lost or retired."""
    if row.status == CardStatus.LOST:
        raise ApiError(
            409,
            "card-lost",
            worded("Card {serial} is lost.", serial=row.serial),
            kept=NOTHING_CHANGED,
            todo="If you have it in your hand, say first that it is found.",
        )
    if row.status == CardStatus.RETIRED:
        raise ApiError(
            409,
            "card-retired",
            worded("Card {serial} is retired.", serial=row.serial),
            kept=NOTHING_CHANGED,
            todo="Nobody has it any more, and it cannot be used again: take another card.",
        )


def must_be_valid(row: AnyRow, now: float) -> None:
    """now: seconds since 1970. Raises ApiError (409) for a card whose key has expired."""
    if _expired(row, now):
        raise ApiError(
            409,
            "card-expired",
            worded("The key of card {serial} has expired.", serial=row.serial),
            kept=NOTHING_CHANGED,
            todo="Use another card.",
        )


def _expired(row: AnyRow, now: float) -> bool:
    return row.valid_until is not None and bool(row.valid_until <= int(now))


def held_already(serial: str) -> ApiError:
    return ApiError(
        409,
        "already-assigned",
        worded("Card {serial} is assigned to another user, or lent.", serial=serial),
        kept="The assignment stays as it is.",
        todo="Take the card back first, or use another card.",
    )
