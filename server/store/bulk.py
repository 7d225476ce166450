"""Many rows at once, by the fastest way that each database has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table

from tallystick.server.store.batches import batched
from tallystick.server.store.sealed_file import no_room

AT_ONCE = 2000
_BESIDE = "gathered"  # what SQLite calls the database in which rows wait
_CACHE_KIB = 16 * 1024  # of pages, while many rows come in at places all over an index
_USUAL_CACHE_KIB = 2000


class GatheredRows:
    """Rows that one transaction takes over, all of them. While it writes, SQLite lets nobody else
    write: so there they wait in a database of their own, of no name and gone with its connection,
    and are taken over by one statement (`Database.write`)."""

    def __init__(self, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """columns: names, in the order of each row's values; the others have their defaults."""
        self._table = table
        self._columns = columns
        self._rows = rows
        self._waits = False

    def insert(self, connection: Connection, *, first_id: int | None = None) -> None:
        """In the caller's transaction. first_id: of the first row, if the database is not to number
        them itself; the others follow. Raises IntegrityError as other inserts do."""
        if self._waits:
            self._take_over(connection, first_id)
        elif first_id is None:
            insert_rows(connection, self._table, self._columns, self._rows)
        else:
            rows = ((at, *row) for at, row in enumerate(self._rows, start=first_id))
            insert_rows(connection, self._table, ("id", *self._columns), rows)

    def _take_over(self, connection: Connection, first_id: int | None) -> None:
        columns: tuple[str, ...] = ()
        taken = "*"
        if first_id is not None:
            columns, taken = ("id",), f"rowid + {first_id - 1}, *"
        names, name = _named(self._table, (*columns, *self._columns)), f'"{self._table.name}"'
        connection.exec_driver_sql(
            f"INSERT INTO main.{name} ({names}) SELECT {taken} FROM {_BESIDE}.{name}"  # noqa: S608
        )

    def gather(self, connection: sqlite3.Connection) -> None:
        """Before the transaction."""
        name = f'{_BESIDE}."{self._table.name}"'
        places = ", ".join("?" for _ in self._columns)
        connection.execute(f"CREATE TABLE {name} ({_named(self._table, self._columns)})")
        connection.executemany(f"INSERT INTO {name} VALUES ({places})", self._rows)  # noqa: S608
        self._waits = True


@contextmanager
def gathered_beside(connection: Connection, gathered: Sequence[GatheredRows]) -> Iterator[None]:
    """SQLite, with no transaction begun: rows of different tables wait for the one that begins in
    this block. Raises ApiError (503) where the disk has no room for them."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    try:
        for statement in (
            f"ATTACH '' AS {_BESIDE}",
            f"PRAGMA {_BESIDE}.journal_mode=OFF",
            f"PRAGMA {_BESIDE}.synchronous=OFF",
            "BEGIN",
        ):
            raw.execute(statement)
        for rows in gathered:
            rows.gather(raw)
        raw.execute("COMMIT")
        raw.execute(f"PRAGMA main.cache_size=-{_CACHE_KIB}")
    except sqlite3.OperationalError:
        connection.invalidate()
        raise no_room() from None
    except BaseException:  # whoever gives the rows has ended it
        connection.invalidate()
        raise
    try:
        yield
    finally:
        _let_go(connection, raw)


def _let_go(connection: Connection, raw: sqlite3.Connection) -> None:
    try:
        raw.execute(f"PRAGMA main.cache_size=-{_USUAL_CACHE_KIB}")
        raw.execute(f"DETACH {_BESIDE}")
    except sqlite3.Error:  # the connection is in no state to be used again
        connection.invalidate()


def insert_rows(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """In the caller's transaction. columns: as of GatheredRows. Raises IntegrityError as other
    inserts do."""
    places = ", ".join("?" if connection.dialect.name == "sqlite" else "%s" for _ in columns)
    statement = f'INSERT INTO "{table.name}" ({_named(table, columns)}) VALUES ({places})'  # noqa: S608
    for batch in batched(rows, AT_ONCE):
        connection.exec_driver_sql(statement, [tuple(row) for row in batch])


def _named(table: Table, columns: Sequence[str]) -> str:
    return ", ".join(f'"{table.columns[name].name}"' for name in columns)
