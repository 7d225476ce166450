"""Who is behind: people without a second factor. They are reminded, and listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, func, select

from tallystick.server.accounts import firms, people
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.messages import letters
from tallystick.server.messages.letters import Sender
from tallystick.server.rules import tables
from tallystick.server.signing_in import inviting
from tallystick.server.signing_in.login import asked_of_directory
from tallystick.server.state import ServerState
from tallystick.server.store import rates
from tallystick.server.store.audit import Act, record
from tallystick.server.store.batches import batched
from tallystick.server.store.models import PersonRow
from tallystick.server.store.models_login import SessionRow
from tallystick.server.wording.worded import worded

DAY_S = 86400
COLUMNS = ("login", "name", "email", "groups", "state", "invited until", "made", "signed in")


@dataclass(frozen=True)
class Behind:
    """Somebody without a second factor. state: in words. signed_in: when last, as far as sessions
    that are open tell. Times in seconds since 1970."""

    id: int
    login: str
    name: str
    email: str | None
    groups: tuple[str, ...]
    state: str
    invited_until: int | None
    created_at: int
    signed_in: int | None


def behind(
    connection: Connection, firm: KnownFirm, now: float, *, after: str = "", most: int | None = None
) -> Iterator[Behind]:
    """By login, read as it goes; whoever is barred is not waited for. after: those whose logins
    come after this one."""
    lacking = (PersonRow.enrolled_at.is_(None)) & (PersonRow.disabled_at.is_(None))
    found = people.pages(connection, firm.id, lacking, after=after)
    for chunk in batched(islice(found, most)):
        ids = [person.id for person in chunk]
        invitations = {one.person_id: one for one in inviting.of_people(connection, ids, now)}
        sessions = (
            select(SessionRow.person_id, func.max(SessionRow.created_at))
            .where(SessionRow.person_id.in_(ids))
            .group_by(SessionRow.person_id)
        )
        last = {row.person_id: row[1] for row in connection.execute(sessions)}
        for person in chunk:
            invitation = invitations.get(person.id)
            yield Behind(
                person.id,
                person.login,
                person.full_name,
                person.email,
                person.groups,
                _state(firm, person, invitation),
                invitation.expires_at if invitation else None,
                person.created_at,
                last.get(person.id),
            )


def count(connection: Connection, firm: KnownFirm) -> tuple[int, int]:
    """→ how many have none, and how many there are"""
    here = (PersonRow.firm_id == firm.id) & PersonRow.disabled_at.is_(None)
    query = select(func.count(), func.count(PersonRow.enrolled_at)).where(here)
    everybody, enrolled = connection.execute(query).one()
    return int(everybody) - int(enrolled), int(everybody)


def _state(firm: KnownFirm, person: KnownPerson, invitation: inviting.OpenInvitation | None) -> str:
    if person.has_password or asked_of_directory(person, firm.policy):
        return worded("no second factor")
    if invitation is None:
        return worded("not invited")
    if invitation.over:
        return worded("invitation too old")
    if invitation.by == inviting.BY_MAIL:
        return worded("invited by mail")
    return worded("invited by letter")


def as_table(found: Iterable[Behind]) -> Iterator[str]:
    """Lines of CSV."""
    yield tables.line(COLUMNS)
    for one in found:
        yield tables.line(
            [
                one.login,
                one.name,
                one.email or "",
                "; ".join(one.groups),
                one.state,
                _day(one.invited_until),
                _day(one.created_at),
                _day(one.signed_in),
            ]
        )


def _day(seconds: int | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def remind_due(state: ServerState) -> int:
    """Mail those whose time has come, of each firm that wants it. → how many"""
    told = 0
    with state.database.read() as connection:
        wanting = [one for one in firms.list_all(connection) if one.policy.reminder_days]
    for firm in wanting:
        told += state.database.run(lambda c, f=firm: _remind(state, c, f))  # type: ignore[misc]
    return told


def _remind(state: ServerState, connection: Connection, firm: KnownFirm) -> int:
    now, every_s = state.now(), firm.policy.reminder_days * DAY_S
    query = select(PersonRow.id).where(
        PersonRow.firm_id == firm.id,
        PersonRow.enrolled_at.is_(None),
        PersonRow.disabled_at.is_(None),
        PersonRow.email.is_not(None),
        PersonRow.created_at <= int(now) - every_s,
    )
    told = 0
    for number in connection.scalars(query.order_by(PersonRow.id)).all():
        person = people.get(connection, firm.id, number)
        if not (person.has_password or asked_of_directory(person, firm.policy)):
            continue  # an invitation is what helps
        slot = int(now - person.created_at) // every_s
        bucket = f"second-reminder|{person.id}|{slot}"
        if not rates.once(connection, bucket, until=int(now) + 2 * every_s):
            continue
        letters.reminded(
            connection,
            state.ring,
            Sender(firm.name, firm.policy),
            person,
            now,
            link=f"{state.public_url}/p/{firm.name}/",
        )
        act = Act(int(now * 1000), firm.id, "server", "person-reminded", person.login)
        record(connection, state.ring, [act])
        told += 1
    return told
