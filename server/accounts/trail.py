"""The audit log as staff read it: searched, a page at a time, with names in words; and exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from tallystick.server.accounts import people
from tallystick.server.rules import tables
from tallystick.server.store.database import Database
from tallystick.server.store.models import AuditEntry, CredentialRow
from tallystick.server.store.searching import containing, escaped
from tallystick.server.store.stream import Names, entry_of

AT_ONCE = 1000
LOOKED_AT = 200_000  # entries, for a page of those that are sought
MOST_NAMES = 20
COLUMNS = (
    "at", "firm", "actor", "act", "subject", "address", "browser", "detail", "failed", "sentence",
    "chain", "number",
)  # fmt: skip


@dataclass(frozen=True)
class Sought:
    """What to look for. person: part of a login name, a card's serial number, or a credential's id
    or name: as whoever did it, or whom it was done to. actor: the same, as whoever did it. address:
    of the network. since_ms, until_ms: from this millisecond on, and before that one."""

    person: str = ""
    actor: str = ""
    act: str = ""
    address: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True)
class Place:
    """Between two entries: those older than this one come next."""

    at_ms: int
    chain: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        parts = text.split(":")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[2].isdecimal()):
            return None
        at_ms, number = int(parts[0]), int(parts[2])
        return cls(at_ms, parts[1][:40], number) if max(at_ms, number) < 2**53 else None

    def __str__(self) -> str:
        return f"{self.at_ms}:{self.chain}:{self.number}"


def page(
    connection: Connection,
    names: Names,
    firm_id: int,
    sought: Sought,
    *,
    after: Place | None,
    limit: int,
) -> tuple[list[dict[str, Any]], Place | None]:
    """→ entries, the newest first (`store.stream.entry_of`), and where older ones begin. There may
    be fewer than `limit`, or none, although there are older ones: they are looked for next."""
    query = _query(connection, firm_id, sought)
    if after is not None:
        query = query.where(_older(after))
    end = _end(connection, firm_id, sought, after)
    if end is not None:
        query = query.where(AuditEntry.at_ms >= end.at_ms)
    rows = connection.execute(query.limit(limit + 1)).all()
    shown = rows[:limit]
    entries = [entry_of(dict(row._mapping), names) for row in shown]
    if len(rows) > limit:
        return entries, Place(*shown[-1][:3])
    return entries, end


def _end(connection: Connection, firm_id: int, sought: Sought, after: Place | None) -> Place | None:
    """Where to stop looking: whoever seeks what is rare waits for so many entries, not for all that
    there are. None: at the firm's first entry."""
    if not (sought.person or sought.actor or sought.act or sought.address):
        return None
    query = select(AuditEntry.at_ms).where(AuditEntry.firm_id == firm_id)
    if after is not None:
        whole = after.chain == ""  # what has this time was looked at to its end
        before = AuditEntry.at_ms < after.at_ms if whole else AuditEntry.at_ms <= after.at_ms
        query = query.where(before)
    if sought.since_ms is not None:
        query = query.where(AuditEntry.at_ms >= sought.since_ms)
    if sought.until_ms is not None:
        query = query.where(AuditEntry.at_ms < sought.until_ms)
    at_ms = connection.scalar(query.order_by(AuditEntry.at_ms.desc()).limit(1).offset(LOOKED_AT))
    return None if at_ms is None else Place(at_ms, "", 0)


def export(
    database: Database, names: Names, firm_id: int, sought: Sought, kind: str
) -> Iterator[str]:
    """All that is sought, the newest first, as pieces of text. kind: jsonl, csv."""
    form: Callable[[dict[str, Any]], str] = _line if kind == "jsonl" else _row
    if kind == "csv":
        yield tables.line(COLUMNS)
    after: Place | None = None
    while True:
        with database.read() as connection:
            entries, after = page(connection, names, firm_id, sought, after=after, limit=AT_ONCE)
        yield "".join(form(entry) for entry in entries)
        if after is None:
            return


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _row(entry: dict[str, Any]) -> str:
    detail = json.dumps(entry["detail"], ensure_ascii=False) if entry["detail"] else ""
    values = [str((entry | {"detail": detail})[name]) for name in COLUMNS]
    return tables.line(values)


def _query(connection: Connection, firm_id: int, sought: Sought) -> Select[Any]:
    columns = AuditEntry.__table__.columns
    first = (columns.at_ms, columns.chain, columns.number)
    others = [column for column in columns if column not in first and column.name != "mac"]
    query = (
        select(*first, *others)
        .where(AuditEntry.firm_id == firm_id)
        .order_by(AuditEntry.at_ms.desc(), AuditEntry.chain.desc(), AuditEntry.number.desc())
    )
    if sought.person:
        query = query.where(_about(connection, firm_id, sought.person))
    if sought.actor:
        query = query.where(AuditEntry.actor.in_(_known_as(connection, firm_id, sought.actor)))
    if sought.act:
        query = query.where(AuditEntry.action == sought.act)
    if sought.address:
        query = query.where(_has(f'"from":"{escaped(sought.address)}"'))
    if sought.since_ms is not None:
        query = query.where(AuditEntry.at_ms >= sought.since_ms)
    if sought.until_ms is not None:
        query = query.where(AuditEntry.at_ms < sought.until_ms)
    return query


def _older(place: Place) -> ColumnElement[bool]:
    same_time = AuditEntry.at_ms == place.at_ms
    return or_(
        AuditEntry.at_ms < place.at_ms,
        and_(same_time, AuditEntry.chain < place.chain),
        and_(same_time, AuditEntry.chain == place.chain, AuditEntry.number < place.number),
    )


def _about(connection: Connection, firm_id: int, text: str) -> ColumnElement[bool]:
    """As whoever did it, whom it was done to, or whose code it was."""
    known = _known_as(connection, firm_id, text)
    logins = [person.login for person in people.search(connection, firm_id, text, limit=MOST_NAMES)]
    users = [_has(f'"user":"{escaped(login)}"') for login in dict.fromkeys([*logins, text])]
    return or_(AuditEntry.actor.in_(known), AuditEntry.subject.in_([*known, *logins]), *users)


def _known_as(connection: Connection, firm_id: int, text: str) -> list[str]:
    """What entries may call it: people by number, credentials by id."""
    found = people.search(connection, firm_id, text, limit=MOST_NAMES)
    credentials = connection.scalars(
        select(CredentialRow.id)
        .where(
            CredentialRow.firm_id == firm_id,
            containing(text, CredentialRow.name),
        )
        .limit(MOST_NAMES)
    )
    spoken = {"somebody": "unknown", "the console": "console", "the server": "server"}
    return [text, spoken.get(text, text), *(f"person:{one.id}" for one in found), *credentials]


def _has(pattern: str) -> ColumnElement[bool]:
    return AuditEntry.detail.like(f"%{pattern}%", escape="\\")
