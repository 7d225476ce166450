"""What became of a card, and of the cards of a person: read from the audit log, which has every act
of staff and stations. Verifications are not among them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from tallystick.server.store.database import AnyRow
from tallystick.server.store.models import AuditEntry, CredentialRow, PersonRow
from tallystick.server.store.roads import Road, newest
from tallystick.server.store.said import SaidOf, SaidTo, says

LIMIT = 500
PUBLIC = frozenset(
    {"to", "of", "until", "by", "for", "overdue_s", "skipped", "without_code", "reason", "undone"}
)


@dataclass(frozen=True)
class CardEvent:
    """at: seconds since 1970. actor: a name, where one is known. act: as in the audit log."""

    at: int
    actor: str
    act: str
    card: str
    detail: dict[str, str | int]


def of_card(connection: Connection, firm_id: int, serial: str) -> list[CardEvent]:
    """Newest first."""
    return _entries(connection, firm_id, AuditEntry.subject == serial)


def of_person(connection: Connection, firm_id: int, login: str) -> list[CardEvent]:
    """Cards that came to somebody, or went; newest first."""
    held = [says(AuditEntry.detail, kind, login) for kind in (SaidTo, SaidOf)]
    return _entries(connection, firm_id, *held)


def _entries(connection: Connection, firm_id: int, *roads: Road) -> list[CardEvent]:
    columns = (
        AuditEntry.at_ms, AuditEntry.actor, AuditEntry.action, AuditEntry.subject, AuditEntry.detail
    )  # fmt: skip
    others = [AuditEntry.firm_id == firm_id, AuditEntry.action.like("card-%")]
    rows = list(connection.execute(newest(columns, roads, others, LIMIT)))
    known = names(connection, firm_id, {row.actor for row in rows})
    return [_entry(row, known) for row in rows]


def _entry(row: AnyRow, names: dict[str, str]) -> CardEvent:
    detail = json.loads(row.detail) if row.detail else {}
    kept = {key: value for key, value in detail.items() if key in PUBLIC}
    actor = names.get(row.actor, row.actor)
    return CardEvent(row.at_ms // 1000, actor, row.action, row.subject, kept)


def names(connection: Connection, firm_id: int, actors: Iterable[str]) -> dict[str, str]:
    """Names of credentials and of people who act in the portal."""
    actors = list(actors)
    ids = [actor for actor in actors if not actor.startswith("person:")]
    people = [int(actor[7:]) for actor in actors if actor.startswith("person:")]
    of_credentials = connection.execute(
        select(CredentialRow.id, CredentialRow.name).where(
            CredentialRow.firm_id == firm_id, CredentialRow.id.in_(ids)
        )
    )
    found = {row.id: row.name for row in of_credentials}
    of_people = connection.execute(
        select(PersonRow.id, PersonRow.login).where(
            PersonRow.firm_id == firm_id, PersonRow.id.in_(people)
        )
    )
    return found | {f"person:{row.id}": row.login for row in of_people}
