"""Answers to checks that were given a name (`Idempotency-Key`), kept for a few minutes.

Whoever has asked and got no answer does not know whether the code was right, and it is right only
once. He asks again with the same name: the same asker, name and check get the answer that was
given, and nothing is judged or counted a second time. Any other check of that code is a replay.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.server.store.database import StaleError
from tallystick.server.store.models import CheckAnswer

KEPT_S = 600
MIN_NAME, MAX_NAME = 16, 128  # characters; clients send 32


def name_of(
    asker: str, key: str, user: str | None, serial: str | None, codes: tuple[str, ...]
) -> bytes:
    """By which the answer is kept: no part of it can be told from this."""
    parts = json.dumps([asker, key, user, serial, codes])
    return hashlib.sha256(parts.encode()).digest()


def find(connection: Connection, names: Iterable[bytes], now: float) -> dict[bytes, str]:
    """The answers that were given, as JSON."""
    wanted = list(names)
    if not wanted:
        return {}
    query = select(CheckAnswer.id_hash, CheckAnswer.answer).where(
        CheckAnswer.id_hash.in_(wanted), CheckAnswer.expires_at > int(now)
    )
    return {row.id_hash: row.answer for row in connection.execute(query)}


def keep(connection: Connection, given: Mapping[bytes, tuple[int, str]], now: float) -> None:
    """given: firm and answer, by name. Raises StaleError when another worker has just judged the
    same check."""
    if not given:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    rows = [
        {"id_hash": name, "firm_id": firm, "answer": answer, "expires_at": int(now) + KEPT_S}
        for name, (firm, answer) in given.items()
    ]
    table = CheckAnswer.__table__
    fresh = dialect.insert(table).values(rows)
    # What is over and not swept yet makes room.
    made = connection.execute(
        fresh.on_conflict_do_update(
            index_elements=["id_hash"],
            set_={"answer": fresh.excluded.answer, "expires_at": fresh.excluded.expires_at},
            where=table.c.expires_at <= int(now),
        ).returning(table.c.id_hash)
    )
    if len(made.all()) != len(rows):
        raise StaleError
