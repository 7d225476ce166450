"""One engine, two ways in: `read()` and `write()`. Every commit is durable.

SQLite: write-ahead log with synchronous=FULL, so a commit has reached the disk when it returns;
a writing transaction takes the write lock at once (BEGIN IMMEDIATE), so it cannot fail half way
for having read something stale. PostgreSQL: READ COMMITTED with row locks.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, ExceptionContext, Row, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

AnyRow = Row[*tuple[Any, ...]]

BUSY_TIMEOUT_S = 15  # that a transaction waits for another's lock, on either
MAX_TRIES = 20
T = TypeVar("T")
_WRITES = "tally_writes"
WRITTEN = "tally_acts"  # in `Connection.info`: entries that the transaction has appended
READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction
IN_THE_WAY = ("40001", "40P01")  # serialization_failure, deadlock_detected


def is_away(error: DBAPIError) -> bool:
    """Whether the database has gone or is busy: the same may go well in a moment."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


class StaleError(Exception):
    """A compare-and-set matched nothing: another worker was first. Judge again from the start."""


class Database:
    """The engine and its transactions. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgresql_engine(url)
        self._listeners: list[Callable[[list[dict[str, Any]]], None]] = []
        self._writing = self.engine.execution_options(**{_WRITES: True})
        # On SQLite every transaction is that.
        repeatable = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._one_instant = self.engine.execution_options(**repeatable)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """To read from: on PostgreSQL each statement sees what is committed by then."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """To read from: every statement sees the same instant."""
        with self._one_instant.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is committed, durably, when the block ends without an exception."""
        with self._writing.begin() as connection:
            written: list[dict[str, Any]] = []
            connection.info[WRITTEN] = written
            yield connection
        for listener in self._listeners:
            listener(written)

    def listen(self, listener: Callable[[list[dict[str, Any]]], None]) -> None:
        """Tell of entries of the audit log, once they are committed. The listener is quick, and
        raises nothing."""
        self._listeners.append(listener)

    def run(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction that is committed; again from the start while it is stale, or the
        database says that it came in the way of another.

        Raises whatever work raises, with nothing changed.
        """
        for _ in range(MAX_TRIES - 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except StaleError:
                continue
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in IN_THE_WAY:
                    raise
        with self.write() as connection:
            return work(connection)

    def close(self) -> None:
        self.engine.dispose()


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Two who open a new database at once: the second waits as it would for any other lock."""
    end = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    assert database
    Path(database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    Path(database).touch(mode=0o600)  # SQLite gives its other files the same mode
    # Parameters are hashes, boxes and names: an error that shows them would end in a log.
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin in `begin` below, not in the driver
        # The file remembers its journal mode. Setting it needs the database to itself, and does
        # not wait for that as other statements do, so it is set only where it is not yet.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=10,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def bound_waits(connection: Any, _record: Any) -> None:
        connection.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S}s'")
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def leave_a_standby(context: ExceptionContext) -> None:
        """A primary that was made a standby still answers, but takes no writes: the pool must not
        keep its connections. Those that are made anew go to the host that takes writes."""
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine
