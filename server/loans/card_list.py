"""Cards as staff looks for them: searched, filtered, sorted, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from tallystick.server.loans import desk
from tallystick.server.loans.desk import Whereabouts
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.server.store.paging import LARGEST, RowOrder, RowPage, page_of
from tallystick.server.store.searching import containing

PAGE = 50


class CardFilter(StrEnum):
    """Which to show: by where they are, or those that wrong codes have locked."""

    ALL = ""
    POOL = Whereabouts.POOL.value
    ASSIGNED = Whereabouts.ASSIGNED.value
    LENT = Whereabouts.LENT.value
    OVERDUE = Whereabouts.OVERDUE.value
    LOST = Whereabouts.LOST.value
    RETIRED = Whereabouts.RETIRED.value
    LOCKED = "locked"


class CardOrder(StrEnum):
    """end: what is due first comes first, what nobody has to bring back last. used: last."""

    SERIAL = "serial"
    HOLDER = "holder"
    END = "end"
    USED = "used"
    REGISTERED = "registered"


SORT_KEYS: Mapping[CardOrder, Any] = {
    CardOrder.SERIAL: CardRow.serial,
    CardOrder.HOLDER: func.coalesce(PersonRow.login_key, ""),
    CardOrder.END: func.coalesce(Assignment.expires_at, LARGEST),
    CardOrder.USED: func.coalesce(CardRow.last_used_at, 0),
    CardOrder.REGISTERED: CardRow.registered_at,
}


@dataclass(frozen=True)
class CardQuery:
    """text: part of a serial number, or of the login, name or address of whoever has the card.
    after, before: marks of a `RowPage`."""

    text: str = ""
    filter: CardFilter = CardFilter.ALL
    order: CardOrder = CardOrder.SERIAL
    down: bool = False
    after: str = ""
    before: str = ""


def page(
    connection: Connection, firm_id: int, asked: CardQuery, now: float, *, size: int = PAGE
) -> RowPage:
    """→ rows with id, serial, status, last_used_at, blocked_until; and login, expires_at of whoever
    has the card."""
    query = (
        select(
            CardRow.id, CardRow.serial, CardRow.status, CardRow.last_used_at, CardRow.blocked_until,
            PersonRow.login, Assignment.expires_at,
        )
        .outerjoin(Assignment, Assignment.card_id == CardRow.id)
        .outerjoin(PersonRow, PersonRow.id == Assignment.person_id)
        .where(CardRow.firm_id == firm_id)
    )  # fmt: skip
    if asked.filter is CardFilter.LOCKED:
        query = query.where(CardRow.blocked_until > int(now))
    elif asked.filter is not CardFilter.ALL:
        query = query.where(desk.condition(Whereabouts(asked.filter.value), now))
    if asked.text:
        query = query.where(_about(asked.text))
    order = RowOrder(SORT_KEYS[asked.order], CardRow.id, asked.down)
    return page_of(connection, query, order, size=size, after=asked.after, before=asked.before)


def _about(text: str) -> ColumnElement[bool]:
    return containing(text, CardRow.serial, PersonRow.login, PersonRow.email, PersonRow.full_name)
