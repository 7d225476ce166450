"""People as staff looks for them: searched, filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, exists, func, select

from tallystick.server.accounts import people
from tallystick.server.accounts.people import KnownPerson
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.loans.holding import CardStatus
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.store.models_login import Factor
from tallystick.server.store.paging import RowOrder, page_of
from tallystick.server.store.searching import containing

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


SORT_KEYS: Mapping[PeopleOrder, Any] = {
    PeopleOrder.LOGIN: PersonRow.login_key,
    PeopleOrder.NAME: func.lower(PersonRow.full_name, type_=String),
    PeopleOrder.EMAIL: func.lower(func.coalesce(PersonRow.email, ""), type_=String),
    PeopleOrder.ROLE: PersonRow.role,
    PeopleOrder.MADE: PersonRow.created_at,
}


@dataclass(frozen=True)
class PeopleQuery:
    """text: part of a login, a name, an address, or the serial number of a card that somebody has.
    after, before: marks of `PeoplePage`."""

    text: str = ""
    filter: PeopleFilter = PeopleFilter.ALL
    order: PeopleOrder = PeopleOrder.LOGIN
    down: bool = False
    after: str = ""
    before: str = ""


@dataclass(frozen=True)
class PeoplePage:
    """first, last, total: of how many these are which. earlier, later: marks of the pages beside
    this one."""

    people: list[KnownPerson]
    total: int
    first: int
    last: int
    earlier: str
    later: str


def page(
    connection: Connection, firm_id: int, asked: PeopleQuery, now: float, *, size: int = PAGE
) -> PeoplePage:
    wanted = _wanted(firm_id, asked, now)
    order = RowOrder(SORT_KEYS[asked.order], PersonRow.id, asked.down)
    found = page_of(
        connection,
        select(PersonRow.id).where(wanted),
        order,
        size=size,
        after=asked.after,
        before=asked.before,
    )
    shown = [people.get(connection, firm_id, row.id) for row in found.rows]
    return PeoplePage(shown, found.total, found.first, found.last, found.earlier, found.later)


def count(connection: Connection, firm_id: int, which: PeopleFilter, now: float) -> int:
    """How many a filter shows."""
    wanted = _wanted(firm_id, PeopleQuery(filter=which), now)
    return connection.scalar(select(func.count()).select_from(PersonRow).where(wanted)) or 0


def _wanted(firm_id: int, asked: PeopleQuery, now: float) -> ColumnElement[bool]:
    wanted = (PersonRow.firm_id == firm_id) & _filters(int(now))[asked.filter]()
    return wanted & _about(asked.text) if asked.text else wanted


def _about(text: str) -> ColumnElement[bool]:
    has_card = _card(containing(text, CardRow.serial))
    return containing(text, PersonRow.login, PersonRow.full_name, PersonRow.email) | has_card


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
