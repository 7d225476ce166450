"""A later copy of a database that is restored, damaged elsewhere perhaps: it is only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tallystick.common.errors import BadInputError
from tallystick.server.store.database import Database

Ask = Callable[[str], Sequence[Sequence[Any]]]


class UnreadableError(Exception):
    """A table of it cannot be read, or is of another version."""


@contextmanager
def later_copy(source: Path | str) -> Iterator[Ask]:
    """source: an SQLite file, or a PostgreSQL database (a URL). → asks it a query. Raises
    BadInputError for a file that is not there; what is asked raises UnreadableError."""
    if str(source).startswith("postgresql"):
        with closing(Database(str(source))) as database:
            yield lambda query: _of_postgresql(database, query)
        return
    path = Path(source)
    if not path.is_file():
        raise BadInputError(
            f"There is no later copy {path}.", kept="Nothing was changed.",
            todo="Name an SQLite file, or the URL of a PostgreSQL database.",
        )  # fmt: skip
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield lambda query: _of_sqlite(connection, query)


def _of_postgresql(database: Database, query: str) -> Sequence[Sequence[Any]]:
    try:
        with database.read() as connection:  # one each: after an error there is nothing to go on in
            return [tuple(row) for row in connection.execute(text(query))]
    except SQLAlchemyError as error:
        raise UnreadableError(type(error).__name__) from None


def _of_sqlite(connection: sqlite3.Connection, query: str) -> Sequence[Sequence[Any]]:
    try:
        return connection.execute(query).fetchall()
    except sqlite3.Error as error:
        raise UnreadableError(type(error).__name__) from None
