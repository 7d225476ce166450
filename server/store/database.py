"""One engine, two ways in: `read()` and `write()`. Every commit is durable.

SQLite: write-ahead log with synchronous=FULL, so a commit has reached the disk when it returns;
a writing transaction takes the write lock at once (BEGIN IMMEDIATE), so it cannot fail half way
for having read something stale. PostgreSQL: READ COMMITTED with row locks, and no wait without end
(`store.bounded`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, ExceptionContext, Row, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from tallystick.common import beside, moments
from tallystick.server.store import searching
from tallystick.server.store.bulk import GatheredRows, gathered_beside
from tallystick.server.store.in_place import FilesInPlace, NotInPlaceError, identity

if TYPE_CHECKING:
    from tallystick.server.store.bounded import Stalls

AnyRow = Row[*tuple[Any, ...]]

BUSY_TIMEOUT_S = 15  # that a transaction waits for another's lock where nobody waits for it
MAX_TRIES = 20

# A request is answered within six seconds, whatever the database does. PostgreSQL: a connection
# that answers at once or is left, a host that takes it within two seconds (libpq's least) or is
# passed over, a statement that ends in time or is given up by the database, or else by us. SQLite:
# a lock of somebody else's is waited for as long as such a statement.
PING_S = 1.5
CONNECT_S = 2
STATEMENT_S = 3.5
WAIT_S = 4.0
PATIENT_S = 600.0  # for what nobody waits for: migrations, sweeps, the command line
KEEPALIVE = {
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",  # ms
}
_PATIENT: ContextVar[bool] = ContextVar("patient", default=False)
T = TypeVar("T")
_WRITES = "tally_writes"
WRITTEN = "tally_acts"  # in `Connection.info`: entries that the transaction has appended
WRITTEN_CHAINS = "tally_chains"  # and chains that it has written whole
_FILES = "tally_files"  # the SQLite files of this connection
_LOCK_S = "tally_lock_s"  # how long it waits for a lock
READ_ONLY = "25006"  # SQLSTATE read_only_sql_transaction
IN_THE_WAY = ("40001", "40P01")  # serialization_failure, deadlock_detected


def is_away(error: DBAPIError) -> bool:
    """Whether the database has gone or is busy: the same may go well in a moment."""
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_in_the_way(error: DBAPIError) -> bool:
    """Whether another transaction was: the same goes well when it is done again from the start."""
    return getattr(error.orig, "sqlstate", None) in IN_THE_WAY


class PoolExhaustedError(Exception):
    """All connections are in use, and none came free in time."""


class StaleError(Exception):
    """A compare-and-set matched nothing: another worker was first. Judge again from the start."""


class Database:
    """The engine and its transactions. Thread-safe."""

    def __init__(self, url: str, *, hurried: bool = False) -> None:
        """hurried: somebody waits for each answer, so PostgreSQL is given up after WAIT_S, and a
        lock, on either, sooner."""
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._stalls: Stalls | None = None
        if self.is_sqlite:
            self.engine = _sqlite_engine(url, hurried=hurried)
        else:
            self.engine, self._stalls = _postgresql_engine(url, hurried=hurried)
        self._listeners: list[Callable[[list[dict[str, Any]]], None]] = []
        self._chain_listeners: list[Callable[[str], None]] = []
        self._writing = self.engine.execution_options(**{_WRITES: True})
        # On SQLite every transaction is that.
        repeatable = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._one_instant = self.engine.execution_options(**repeatable)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """To read from: on PostgreSQL each statement sees what is committed by then."""
        with _begun(self.engine) as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """To read from: every statement sees the same instant."""
        with _begun(self._one_instant) as connection:
            yield connection

    @contextmanager
    def write(self, *gathered: GatheredRows) -> Iterator[Connection]:
        """A transaction that is committed, durably, when the block ends without an exception.
        gathered: rows that it takes over; on SQLite they are put beside it before it begins."""
        with _begun(self._writing, gathered if self.is_sqlite else ()) as connection:
            written: list[dict[str, Any]] = []
            chains: list[str] = []
            connection.info.update({WRITTEN: written, WRITTEN_CHAINS: chains})
            yield connection
        for listener in self._listeners:
            listener(written)
        for chain in chains:
            for told in self._chain_listeners:
                told(chain)

    def stalls(self) -> bool:
        """Whether the database keeps somebody waiting now. SQLite is a file: it never does."""
        return self._stalls is not None and self._stalls.any()

    def listen(self, listener: Callable[[list[dict[str, Any]]], None]) -> None:
        """Tell of entries of the audit log, once they are committed. The listener is quick, and
        raises nothing."""
        self._listeners.append(listener)

    def listen_for_chains(self, listener: Callable[[str], None]) -> None:
        """Tell of chains that were written whole, and are committed. The listener may take its
        time, and raises nothing."""
        self._chain_listeners.append(listener)

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
                if not is_in_the_way(error):
                    raise
        with self.write() as connection:
            return work(connection)

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _begun(engine: Engine, gathered: Sequence[GatheredRows] = ()) -> Iterator[Connection]:
    """A transaction. Raises OperationalError where no connection is to be had, or a file is not in
    its place: looked at before, and after the commit, for what is told as kept must be there."""
    try:
        connection = engine.connect()
    except PoolTimeoutError:
        raise OperationalError(None, None, PoolExhaustedError()) from None
    beside = gathered_beside(connection, gathered) if gathered else nullcontext()
    with connection, beside:
        files: FilesInPlace | None = connection.info.get(_FILES)
        _must_be_in_place(files)
        with connection.begin():
            yield connection
        _must_be_in_place(files)


def _must_be_in_place(files: FilesInPlace | None) -> None:
    try:
        if files is not None:
            files.must_hold()
    except NotInPlaceError as error:
        raise OperationalError(None, None, error) from None


@contextmanager
def patient() -> Iterator[None]:
    """What is done in this block, by this thread, may take its time: nobody waits for it."""
    before = _PATIENT.set(True)
    try:
        yield
    finally:
        _PATIENT.reset(before)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Two who open a new database at once: the second waits as it would for any other lock."""
    end = moments.steady() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or moments.steady() > end:
                raise
        beside.sleep(0.01)


def _lock_s(*, hurried: bool) -> float:
    """That a transaction waits for another's lock."""
    return min(BUSY_TIMEOUT_S, STATEMENT_S) if hurried else BUSY_TIMEOUT_S


def _sqlite_engine(url: str, *, hurried: bool) -> Engine:
    database = make_url(url).database
    assert database
    Path(database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not Path(database).exists():
        Path(database).touch(mode=0o600)  # SQLite gives its other files the same mode
    main = identity(database)
    # Parameters are hashes, boxes and names: an error that shows them would end in a log.
    usual_s = _lock_s(hurried=hurried)
    engine = create_engine(url, connect_args={"timeout": usual_s}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # transactions begin in `begin` below, not in the driver
        # The file remembers its journal mode. Setting it needs the database to itself, and does
        # not wait for that as other statements do, so it is set only where it is not yet.
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        searching.teach(connection)
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # opens the log
        record.info[_FILES] = FilesInPlace.of(database, main)
        record.info[_LOCK_S] = usual_s

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        lock_s = _lock_s(hurried=hurried and not _PATIENT.get())
        if connection.info.get(_LOCK_S) != lock_s:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(lock_s * 1000)}")
            connection.info[_LOCK_S] = lock_s
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: str, *, hurried: bool) -> tuple[Engine, Stalls]:
    # An extra: who uses SQLite does not have it.
    from tallystick.server.store.bounded import BoundedConnection, Stalls  # noqa: PLC0415

    stalls = Stalls()
    asked = make_url(url).query
    bounds = {"connect_timeout": str(CONNECT_S)} | KEEPALIVE
    engine = create_engine(
        url,
        connect_args={name: value for name, value in bounds.items() if name not in asked},
        isolation_level="READ COMMITTED",
        pool_size=10,
        pool_timeout=WAIT_S,
        hide_parameters=True,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, words: Any, named: Any) -> BoundedConnection:
        try:
            with stalls.waiting():
                made = BoundedConnection.connect(*words, **named)
        except BoundedConnection.OperationalError:
            stalls.gave_up()
            raise
        made.limit_s, made.stalls = WAIT_S, stalls
        return made

    @event.listens_for(engine, "connect")
    def bound_waits(connection: BoundedConnection, _record: Any) -> None:
        if hurried:
            connection.execute(f"SET statement_timeout = {int(STATEMENT_S * 1000)}")
        connection.execute(f"SET lock_timeout = {int(_lock_s(hurried=hurried) * 1000)}")
        connection.commit()

    @event.listens_for(engine, "checkout")
    def still_there(connection: BoundedConnection, _record: Any, _proxy: Any) -> None:
        """The pool makes connections anew, all of them, when this one does not answer at once."""
        connection.limit_s = PING_S
        try:
            engine.dialect.do_ping(connection)  # type: ignore[arg-type]
        except connection.Error as error:
            raise DisconnectionError(type(error).__name__) from None
        slow = not hurried or _PATIENT.get()
        connection.limit_s, connection.stalls = (PATIENT_S, None) if slow else (WAIT_S, stalls)

    @event.listens_for(engine, "checkin")
    def back_in_the_pool(connection: BoundedConnection | None, _record: Any) -> None:
        if connection is not None:
            connection.stalls = stalls

    @event.listens_for(engine, "begin")
    def take_time(connection: Connection) -> None:
        if hurried and _PATIENT.get():
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_S * 1000}")

    @event.listens_for(engine, "handle_error")
    def leave_a_standby(context: ExceptionContext) -> None:
        """A primary that was made a standby still answers, but takes no writes: the pool must not
        keep its connections. Those that are made anew go to the host that takes writes."""
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine, stalls
