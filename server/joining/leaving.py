"""Whoever leaves loses everything at once, in one transaction: the password, all ways to sign in,
sessions and what services were let do with them, remembered browsers, codes on their way, requests
of the help desk. Cards are lost until the desk has them in its hand: they verify nothing."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server.accounts import people, sessions
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.joining.keeping import (
    Ways,
    kept_elsewhere,
    must_leave_an_administrator,
    own_account,
)
from tallystick.server.loans.holding import CardStatus
from tallystick.server.store.audit import Act, record
from tallystick.server.store.models import (
    Assignment,
    CardRow,
    Departed,
    DeskActRow,
    PersonRow,
)
from tallystick.server.store.models_login import Attempt, Factor, HelpRequest, SentCode


def leave(connection: Connection, ways: Ways, gone: Sequence[KnownPerson]) -> None:
    """These people leave the firm; their accounts stay, barred and empty. Whoever comes back is let
    in by two of the help desk, or by the console: an invitation, which one administrator makes,
    would open somebody else's account. Nobody is told: what would be told may be read by others by
    then.

    Raises ApiError: 403 for oneself, 409 for the last administrator and for whom a directory keeps.
    """
    for person in gone:
        _may_go(ways, person)
    must_leave_an_administrator(connection, ways, gone)
    for person in gone:
        acts = _take_everything(connection, ways, person)
        record(connection, ways.ring, [*acts, ways.act("person-left", person.login, **_by(ways))])


def remove(connection: Connection, ways: Ways, person: KnownPerson) -> None:
    """As `leave`, and the account goes, too. What stays is in the audit log, under the login name
    and the number, until it is pruned. Raises as `leave`."""
    _may_go(ways, person)
    must_leave_an_administrator(connection, ways, [person])
    acts = _take_everything(connection, ways, person)
    connection.execute(
        insert(Departed),
        {"person_id": person.id, "firm_id": ways.firm.id, "at": int(ways.now)},
    )
    connection.execute(delete(PersonRow).where(PersonRow.id == person.id))
    detail = _by(ways) | {"number": person.id}
    record(connection, ways.ring, [*acts, ways.act("person-deleted", person.login, **detail)])


def _by(ways: Ways) -> dict[str, str | int]:
    return {"by": ways.by.value} if ways.by else {}


def _may_go(ways: Ways, person: KnownPerson) -> None:
    if ways.is_own(person):
        raise own_account()
    if person.source and person.source is not ways.by:
        raise kept_elsewhere(person)


def _take_everything(connection: Connection, ways: Ways, person: KnownPerson) -> list[Act]:
    """→ what became of cards, for the audit log"""
    people.get(connection, ways.firm.id, person.id, lock=True)
    own = Attempt.person_id == person.id
    hashes = select(Attempt.token_hash).where(own)
    connection.execute(delete(SentCode).where(SentCode.attempt.in_(hashes)))
    connection.execute(delete(Attempt).where(own))
    sessions.end_all(connection, person.id)  # with the grants of services, which hang on them
    connection.execute(
        delete(HelpRequest).where(
            (HelpRequest.person_id == person.id)
            | (HelpRequest.asked_by == person.id)
            | (HelpRequest.agreed_by == person.id)
        )
    )
    mine = select(Factor.id).where(Factor.person_id == person.id)
    connection.execute(delete(SentCode).where(SentCode.factor_id.in_(mine)))
    connection.execute(delete(Factor).where(Factor.person_id == person.id))
    acts = _keep_cards_back(connection, ways, person)
    people.change(
        connection,
        ways.firm.id,
        person.id,
        disabled_at=int(ways.now),
        password_hash=None,
        # When there was one stays, and that a factor was enrolled: whoever opens the account again
        # would be the one who left. That takes two of the help desk, as any recovery.
        password_at=int(ways.now) if person.has_password else person.password_at,
        left_at=int(ways.now),
        recovered_by=None,
    )
    return acts


def _keep_cards_back(connection: Connection, ways: Ways, person: KnownPerson) -> list[Act]:
    held = connection.execute(
        select(CardRow.id, CardRow.serial, CardRow.status)
        .join(Assignment, Assignment.card_id == CardRow.id)
        .where(Assignment.person_id == person.id)
        .order_by(CardRow.id)
        .with_for_update(of=CardRow)
    ).all()
    ids = [row.id for row in held]
    in_use = (CardRow.id.in_(ids)) & (CardRow.status == CardStatus.REGISTERED.value)
    connection.execute(update(CardRow).where(in_use).values(status=CardStatus.LOST.value))
    connection.execute(delete(Assignment).where(Assignment.person_id == person.id))
    connection.execute(delete(DeskActRow).where(DeskActRow.card_id.in_(ids)))
    of = {"of": person.login, "reason": "left the firm"}
    return [ways.act("card-lost", row.serial, **of) for row in held]
