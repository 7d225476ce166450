"""The audit log as staff read it: searched, a page at a time, with names in words; and exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select, true

from tallystick.server.accounts import people
from tallystick.server.rules import tables
from tallystick.server.store.database import Database
from tallystick.server.store.models import NO_VERIFICATION, AuditEntry, CredentialRow
from tallystick.server.store.models_login import OidcClient
from tallystick.server.store.roads import Place, Road, looked_at, newest
from tallystick.server.store.said import SaidFrom, SaidOf, SaidTo, SaidUser, says
from tallystick.server.store.searching import containing
from tallystick.server.store.stream import RENAMES, Names, entry_of, facts_of

AT_ONCE = 1000
LOOKED_AT = 200_000  # entries, for a page of those that are sought
MOST_NAMES = 20
COMMON = "verified"  # the act that an index of acts leaves out
PERSONS = (SaidUser, SaidTo, SaidOf)
COLUMNS = (
    "at", "firm", "actor", "act", "subject", "address", "browser", "detail", "failed", "sentence",
    "chain", "number",
)  # fmt: skip


@dataclass(frozen=True)
class Sought:
    """What to look for. person: part of a login name, a card's serial number, or the id or name of
    a credential or service: as whoever did it, or whom it was done to. actor: the same, as whoever
    did it. address: of the network. since_ms, until_ms: from this millisecond on, and before that
    one."""

    person: str = ""
    actor: str = ""
    act: str = ""
    address: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


def page(
    connection: Connection,
    names: Names,
    firm_id: int | None,
    sought: Sought,
    *,
    after: Place | None,
    limit: int,
) -> tuple[list[dict[str, Any]], Place | None]:
    """→ entries, the newest first (`store.stream.entry_of`), and where older ones begin. There may
    be fewer than `limit`, or none, although there are older ones: they are looked for next.
    firm_id: None for those of the server as a whole, of no firm."""
    roads, others = _ways(connection, firm_id, sought)
    if after is not None:
        others.append(after.older())
    end = _end(connection, firm_id, sought, roads, after)
    if end is not None:
        others.append(end.not_older())
    columns = [column for column in AuditEntry.__table__.columns if column.name != "mac"]
    rows = connection.execute(newest(columns, roads, others, limit + 1)).all()
    shown = rows[:limit]
    entries = [entry_of(dict(row._mapping), names) for row in shown]
    if len(rows) > limit:
        last = shown[-1]
        return entries, Place(last.at_ms, last.number, last.chain)
    return entries, end


def _end(
    connection: Connection,
    firm_id: int | None,
    sought: Sought,
    roads: list[Road],
    after: Place | None,
) -> Place | None:
    """Where to stop looking: whoever seeks what is rare waits for so many entries, not for all that
    there are. None: at the firm's first entry, for a road holds nothing but what is sought."""
    if not _asks_more(sought):
        return None
    others = [AuditEntry.firm_id == firm_id, *_days(sought)]
    if after is not None:
        others.append(after.older())
    return looked_at(connection, roads, others, LOOKED_AT)


def export(
    database: Database, names: Names, firm_id: int | None, sought: Sought, kind: str
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


def _ways(
    connection: Connection, firm_id: int | None, sought: Sought
) -> tuple[list[Road], list[Road]]:
    """→ the roads, by any of which an entry is found, each with an index of its own; and what it
    has to meet besides. The first that is sought is the road: fewest entries are of one person.
    What comes second is written so that no index is taken for it: SQLite would take any."""
    roads: list[Road] = []
    others: list[Road] = [AuditEntry.firm_id == firm_id, *_days(sought)]
    if sought.person and firm_id is not None:
        roads = _about(connection, firm_id, sought.person)
    if sought.actor and firm_id is not None:
        known = _done_by(connection, firm_id, sought.actor)
        if roads:
            others.append(func.coalesce(AuditEntry.actor, "").in_(known))
        roads = roads or [AuditEntry.actor == name for name in known]
    if sought.address:
        if roads:
            address = func.coalesce(SaidFrom(AuditEntry.detail), "")
            others.append(address == func.lower(sought.address))
        roads = roads or [says(AuditEntry.detail, SaidFrom, sought.address)]
    if sought.act:
        same = AuditEntry.action == sought.act
        if roads or sought.act == COMMON:
            others.append(same)
        else:  # what the index of acts leaves out is ruled out in its own words
            roads = [and_(same, NO_VERIFICATION)]
    return roads or [true()], others


def _asks_more(sought: Sought) -> bool:
    """Whether a road has other entries than those that are sought."""
    asked = sum(map(bool, (sought.person, sought.actor, sought.address, sought.act)))
    return asked > 1 or (sought.act == COMMON and asked == 1)


def _days(sought: Sought) -> list[Road]:
    days = []
    if sought.since_ms is not None:
        days.append(AuditEntry.at_ms >= sought.since_ms)
    if sought.until_ms is not None:
        days.append(AuditEntry.at_ms < sought.until_ms)
    return days


def _about(connection: Connection, firm_id: int, text: str) -> list[Road]:
    """As whoever did it, whom it was done to, or whose code or card it was."""
    found = people.search(connection, firm_id, text, limit=MOST_NAMES)
    known = _known_as(connection, firm_id, text, found)
    names = list(dict.fromkeys([*(one.login for one in found), text]))
    before = [old for one in found for old in _called_before(connection, firm_id, one.login)]
    return [
        *(and_(AuditEntry.subject == name, until) for name, until in before),
        *(
            and_(says(AuditEntry.detail, kind, name), until)
            for kind in PERSONS
            for name, until in before
        ),
        *(AuditEntry.actor == name for name in known),
        *(AuditEntry.subject == name for name in dict.fromkeys([*known, *names])),
        *(says(AuditEntry.detail, kind, name) for kind in PERSONS for name in names),
    ]


def _called_before(connection: Connection, firm_id: int, login: str) -> list[tuple[str, Road]]:
    """→ what the person of this login name was called, and the entries up to when: somebody else
    may be called so now"""
    found: list[tuple[str, Road]] = []
    for _ in range(MOST_NAMES):
        rows = connection.execute(
            select(AuditEntry.at_ms, AuditEntry.detail)
            .where(
                AuditEntry.firm_id == firm_id,
                AuditEntry.subject == login,
                AuditEntry.action == RENAMES,
                *(until for _, until in found[-1:]),
            )
            .order_by(AuditEntry.at_ms.desc(), AuditEntry.number.desc())
        )
        said = [(row.at_ms, str(facts_of(row.detail).get("login", ""))) for row in rows]
        old = [(at_ms, text) for at_ms, text in said if text.endswith(f" → {login}")]
        if not old:
            break
        at_ms, text = old[0]
        login = text.removesuffix(f" → {login}")
        found.append((login, AuditEntry.at_ms <= at_ms))
    return found


def _done_by(connection: Connection, firm_id: int, text: str) -> list[str]:
    found = people.search(connection, firm_id, text, limit=MOST_NAMES)
    return _known_as(connection, firm_id, text, found)


def _known_as(
    connection: Connection, firm_id: int, text: str, found: Sequence[people.KnownPerson]
) -> list[str]:
    """What entries may call it: people by number, credentials and services by id."""
    credentials = connection.scalars(
        select(CredentialRow.id)
        .where(
            CredentialRow.firm_id == firm_id,
            containing(text, CredentialRow.name),
        )
        .limit(MOST_NAMES)
    )
    services = connection.scalars(
        select(OidcClient.id)
        .where(OidcClient.firm_id == firm_id, containing(text, OidcClient.name))
        .limit(MOST_NAMES)
    )
    spoken = {"somebody": "unknown", "the console": "console", "the server": "server"}
    people_ids = (f"person:{one.id}" for one in found)
    return list(dict.fromkeys([text, spoken.get(text, text), *people_ids, *credentials, *services]))
