"""Many rows at once, by the fastest way that each database has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from tallystick.server.store.batches import batched

AT_ONCE = 2000


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """In the caller's transaction. columns: names, in the order of each row's values; the others
    have their defaults. Raises IntegrityError as other inserts do."""
    names = ", ".join(f'"{table.columns[name].name}"' for name in columns)
    places = ", ".join("?" if connection.dialect.name == "sqlite" else "%s" for _ in columns)
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({places})'  # noqa: S608
    for batch in batched(rows, AT_ONCE):
        connection.exec_driver_sql(statement, [tuple(row) for row in batch])
