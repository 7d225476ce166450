"""A backup that was put in the database's place: what it brought back, and whether anybody looked.

What was revoked, barred or lost since the backup is as it was before. Nothing is served until an
operator has said that he has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tallystick.common.errors import RefusedError
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import RestoreRow


def note(connection: Connection, report: Mapping[str, Any], now: float) -> None:
    """It waits to be confirmed. Restores of before are over with that: they are in the log."""
    connection.execute(RestoreRow.__table__.delete())
    values = {"at": int(now), "report": json.dumps(report), "confirmed_at": None}
    connection.execute(insert(RestoreRow), values)


def unconfirmed(connection: Connection) -> dict[str, Any] | None:
    """The report of a restore that nobody has confirmed."""
    text = connection.scalar(select(RestoreRow.report).where(RestoreRow.confirmed_at.is_(None)))
    return None if text is None else dict(json.loads(text))


def must_be_confirmed(database: Database) -> None:
    """Raises RefusedError while a restore waits."""
    with database.read() as connection:
        waits = unconfirmed(connection) is not None
    if waits:
        raise RefusedError(
            "This database was restored from a backup, and nobody has confirmed that yet.",
            kept="Nothing is served; nothing was changed.",
            todo="Look at what came back with 'tally server confirm-restore', and confirm it.",
        )


def confirm(connection: Connection, ring: ServerKeyRing, now: float, actor: str) -> None:
    connection.execute(
        update(RestoreRow).where(RestoreRow.confirmed_at.is_(None)).values(confirmed_at=int(now))
    )
    record(connection, ring, [Act(int(now * 1000), None, actor, "restore-confirmed", "database")])
