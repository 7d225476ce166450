"""Long lists, a page at a time: a page begins after a row, or ends before one. Rows are not counted
away, so whoever comes or goes meanwhile makes nobody come twice, or not at all."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, tuple_

from tallystick.server.store.database import AnyRow

LONGEST = 2000  # characters of a mark
LARGEST = 2**53  # a number in one


@dataclass(frozen=True)
class RowMark:
    """Between two rows. key: what the row beside it is sorted by. id: its own."""

    key: str | int
    id: int

    @classmethod
    def parse(cls, text: str, kind: type) -> RowMark | None:
        """Of `str(mark)`; None for anything else. kind: of the key that is sorted by."""
        if not 0 < len(text) <= LONGEST:
            return None
        try:
            key, number = json.loads(base64.b64decode(text, b"-_", validate=True))
            whole = type(key) is kind and type(number) is int and 0 <= number < LARGEST
            if isinstance(key, str):
                key.encode()
                whole = whole and "\0" not in key
            elif isinstance(key, int):
                whole = whole and abs(key) <= LARGEST
        except (binascii.Error, ValueError, TypeError):
            return None
        return cls(key, number) if whole else None

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(json.dumps([self.key, self.id]).encode()).decode()


@dataclass(frozen=True)
class RowOrder:
    """By a key that is never NULL, and among equals by id."""

    key: Any
    id: Any
    down: bool = False

    def columns(self, *, backwards: bool = False) -> tuple[ColumnElement[Any], ...]:
        down = self.down != backwards
        return tuple(one.desc() if down else one.asc() for one in (self.key, self.id))

    def beyond(self, mark: RowMark, *, backwards: bool = False) -> ColumnElement[bool]:
        """What comes after a mark, or before it."""
        here, there = tuple_(self.key, self.id), (mark.key, mark.id)
        return here < there if self.down != backwards else here > there


@dataclass(frozen=True)
class RowPage:
    """rows: of the query. first: the place of the first of them, from 1. earlier, later: marks of
    the pages beside this one, as `page_of` takes them; "" where there is none."""

    rows: list[AnyRow]
    total: int
    first: int
    earlier: str
    later: str

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1


def page_of(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    order: RowOrder,
    *,
    size: int,
    after: str = "",
    before: str = "",
) -> RowPage:
    """The page after a mark, or before one; the first one without, or where nothing is left of it.

    query: of rows that have no columns `sort_key` and `sort_id`; without an order.
    """
    kind = order.key.type.python_type
    mark, backwards = RowMark.parse(after, kind), False
    if mark is None:
        mark, backwards = RowMark.parse(before, kind), True
    marked = query.add_columns(order.key.label("sort_key"), order.id.label("sort_id"))
    total = _count(connection, query)
    rows: list[AnyRow] = []
    if mark is not None:
        found = marked.where(order.beyond(mark, backwards=backwards))
        found = found.order_by(*order.columns(backwards=backwards)).limit(size)
        rows = list(connection.execute(found))
        if backwards:
            rows.reverse()
    if not rows or (backwards and len(rows) < size):
        first = 1
        rows = list(connection.execute(marked.order_by(*order.columns()).limit(size)))
    else:
        ahead = order.beyond(_mark(rows[0]), backwards=True)
        first = _count(connection, query.where(ahead)) + 1
    return RowPage(
        rows,
        total,
        first,
        str(_mark(rows[0])) if first > 1 else "",
        str(_mark(rows[-1])) if rows and first + len(rows) <= total else "",
    )


def _mark(row: AnyRow) -> RowMark:
    return RowMark(row.sort_key, row.sort_id)


def _count(connection: Connection, query: Select[*tuple[Any, ...]]) -> int:
    return connection.scalar(select(func.count()).select_from(query.subquery())) or 0
