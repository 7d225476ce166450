"""A database for one work alone: nothing of it is left when the process ends, however it ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from tallystick.server.store.sealed_file import no_room


class _Rows(sqlite3.Cursor):
    """A disk may be full also while it is read: what was put in has to go there first."""

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.OperationalError:
            raise no_room() from None

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchall(self) -> list[Any]:
        return list(self)


class PrivateDatabase:
    """SQLite on disk, as far as it is large, and without a name. For one thread at a time."""

    def __init__(self, *tables: str) -> None:
        self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", *tables, "BEGIN"):
            self._connection.execute(statement)

    def do(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Raises ApiError (503) where the disk has no room; so does reading what it gives."""
        try:
            return self._connection.cursor(_Rows).execute(statement, values)
        except sqlite3.OperationalError:
            raise no_room() from None

    def do_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Raises as `do`."""
        try:
            self._connection.executemany(statement, rows)
        except sqlite3.OperationalError:
            raise no_room() from None

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        self.close()
