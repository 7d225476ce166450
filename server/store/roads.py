"""Entries of the audit log by any of several conditions, the newest first.

Each condition is looked up in an index of its own that is in the order of time, and read only as
far as is asked for; one statement with OR in it would read all that there is, and sort it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    and_,
    or_,
    select,
    tuple_,
    union,
    union_all,
)

from tallystick.server.store.models import AuditEntry

ORDER = (AuditEntry.at_ms, AuditEntry.number, AuditEntry.chain)
Road = ColumnElement[bool]


@dataclass(frozen=True)
class Place:
    """An entry: those older than this one come next. Its fields are in the log's order."""

    at_ms: int
    number: int
    chain: str

    @classmethod
    def parse(cls, text: str) -> Place | None:
        parts = text.split(":")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            return None
        at_ms, number = int(parts[0]), int(parts[1])
        return cls(at_ms, number, parts[2][:40]) if max(at_ms, number) < 2**53 else None

    def __str__(self) -> str:
        return f"{self.at_ms}:{self.number}:{self.chain}"

    @property
    def _values(self) -> tuple[Any, ...]:
        return (self.at_ms, self.number, self.chain)

    def older(self) -> ColumnElement[bool]:
        """Those that come next."""
        # The first two are what an index has: it is entered there, and not at its end.
        return and_(
            tuple_(*ORDER[:2]) <= tuple_(*self._values[:2]),
            or_(
                tuple_(*ORDER[:2]) < tuple_(*self._values[:2]),
                AuditEntry.chain < self.chain,
            ),
        )

    def not_older(self) -> ColumnElement[bool]:
        """This one, and those that came before."""
        return and_(
            tuple_(*ORDER[:2]) >= tuple_(*self._values[:2]),
            or_(
                tuple_(*ORDER[:2]) > tuple_(*self._values[:2]),
                AuditEntry.chain >= self.chain,
            ),
        )


def newest(
    columns: Sequence[Any], roads: Sequence[Road], others: Sequence[Road], limit: int
) -> Select[Any]:
    """A query for the newest entries by any of the roads that meet all the other conditions, each
    once."""
    found = union(
        *(select(_picked(*ORDER, road=road, others=others, limit=limit)) for road in roads)
    )
    keys = found.subquery("found")
    same = and_(keys.c.chain == AuditEntry.chain, keys.c.number == AuditEntry.number)
    return select(*columns).join_from(keys, AuditEntry, same).order_by(*_down()).limit(limit)


def looked_at(
    connection: Connection, roads: Sequence[Road], others: Sequence[Road], many: int
) -> Place | None:
    """Where so many entries of a road have been read; of several, the newest such place. None: no
    road has as many."""
    picked = (
        select(_picked(*ORDER, road=road, others=others, limit=1, skipped=many)) for road in roads
    )
    ends = union_all(*picked).subquery()
    row = connection.execute(
        select(ends).order_by(*(column.desc() for column in ends.c)).limit(1)
    ).one_or_none()
    return None if row is None else Place(row.at_ms, row.number, row.chain)


def _picked(
    *columns: Any, road: Road, others: Sequence[Road], limit: int, skipped: int = 0
) -> Subquery:
    query = select(*columns).where(road, *others).order_by(*_down()).limit(limit)
    return (query.offset(skipped) if skipped else query).subquery()


def _down() -> tuple[ColumnElement[Any], ...]:
    return tuple(column.desc() for column in ORDER)
