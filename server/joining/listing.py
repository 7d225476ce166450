"""People as staff looks for them: searched, filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from tallystick.server.accounts import people
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.loans.holding import CardStatus
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.store.models_login import Factor

PAGE = 50


class PeopleFilter(StrEnum):
    """Whom to show. overdue: with a card whose loan is over. lost: with a card reported lost."""

    ALL = ""
    WITHOUT = "without"
    NEW = "no-password"
    LOCKED = "locked"
    LENT = "lent"
    OVERDUE = "overdue"
    LOST = "lost"
    STAFF = "staff"
    DIRECTORY = "directory"
    DISABLED = "disabled"


class PeopleOrder(StrEnum):
    LOGIN = "login"
    NAME = "name"
    EMAIL = "email"
    ROLE = "role"
    MADE = "made"


_COLUMNS: Mapping[PeopleOrder, Any] = {
    PeopleOrder.LOGIN: PersonRow.login_key,
    PeopleOrder.NAME: func.lower(PersonRow.full_name),
    PeopleOrder.EMAIL: func.lower(func.coalesce(PersonRow.email, "")),
    PeopleOrder.ROLE: PersonRow.role,
    PeopleOrder.MADE: PersonRow.created_at,
}


@dataclass(frozen=True)
class PeopleQuery:
    """text: part of a login, a name, an address, or the serial number of a card that somebody has.
    page: from 1."""

    text: str = ""
    filter: PeopleFilter = PeopleFilter.ALL
    order: PeopleOrder = PeopleOrder.LOGIN
    down: bool = False
    page: int = 1


@dataclass(frozen=True)
class PeoplePage:
    """page: the one that there is, where another was asked for."""

    people: list[KnownPerson]
    total: int
    page: int
    pages: int


def page(
    connection: Connection, firm_id: int, asked: PeopleQuery, now: float, *, size: int = PAGE
) -> PeoplePage:
    wanted = (PersonRow.firm_id == firm_id) & _filters(int(now))[asked.filter]()
    if asked.text:
        wanted &= _about(asked.text)
    total = connection.scalar(select(func.count()).select_from(PersonRow).where(wanted)) or 0
    pages = max(1, -(-total // size))
    number = min(max(1, asked.page), pages)
    column = _COLUMNS[asked.order]
    query = (
        select(PersonRow.id)
        .where(wanted)
        .order_by(column.desc() if asked.down else column.asc(), PersonRow.id)
        .limit(size)
        .offset((number - 1) * size)
    )
    ids = connection.scalars(query).all()
    return PeoplePage([people.get(connection, firm_id, one) for one in ids], total, number, pages)


def _about(text: str) -> ColumnElement[bool]:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    part = f"%{escaped}%"
    has_card = _card(CardRow.serial.ilike(part, escape="\\"))
    columns = (PersonRow.login, PersonRow.full_name, PersonRow.email)
    return or_(*(column.ilike(part, escape="\\") for column in columns), has_card)


def _card(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(Assignment.card_id)
        .join(CardRow, CardRow.id == Assignment.card_id)
        .where(Assignment.person_id == PersonRow.id, *conditions)
    )


def _filters(now: int) -> Mapping[PeopleFilter, Callable[[], ColumnElement[bool]]]:
    here = PersonRow.disabled_at.is_(None)
    locked = exists(
        select(Factor.id).where(Factor.person_id == PersonRow.id, Factor.blocked_until > now)
    )
    return {
        PeopleFilter.ALL: lambda: PersonRow.id.is_not(None),
        PeopleFilter.WITHOUT: lambda: here & PersonRow.enrolled_at.is_(None),
        PeopleFilter.NEW: lambda: here & PersonRow.password_hash.is_(None),
        PeopleFilter.LOCKED: lambda: locked | _card(CardRow.blocked_until > now),
        PeopleFilter.LENT: lambda: _card(Assignment.expires_at > now),
        PeopleFilter.OVERDUE: lambda: _card(Assignment.expires_at <= now),
        PeopleFilter.LOST: lambda: _card(CardRow.status == CardStatus.LOST.value),
        PeopleFilter.STAFF: lambda: PersonRow.role != PersonRole.USER.value,
        PeopleFilter.DIRECTORY: lambda: PersonRow.source != "",
        PeopleFilter.DISABLED: lambda: PersonRow.disabled_at.is_not(None),
    }
