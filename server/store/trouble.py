"""What is wrong with the ground that the server stands on, told by how the database fails.

A full disk, one that is read-only, a file that somebody else holds: each has its own words for
whoever asked, its own line in the log, and its own row in the metrics (`tally_database_trouble`).
"""

from __future__ import annotations

import logging
import sqlite3
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tallystick.common import moments
from tallystick.common.errors import TallyError, UnreachableError
from tallystick.server.errors import NOTHING_CHANGED, ApiError, database_away
from tallystick.server.store.database import READ_ONLY, Database, is_away
from tallystick.server.store.in_place import NotInPlaceError
from tallystick.server.wording.worded import worded

log = logging.getLogger(__name__)


class DatabaseTrouble(StrEnum):
    """away: it has gone, or is busy. locked: somebody else holds it."""

    AWAY = "away"
    LOCKED = "locked"
    FULL = "full"
    READ_ONLY = "read-only"
    FAILING = "failing"  # it cannot be read or written, and nobody says why
    DAMAGED = "damaged"
    GONE = "gone"  # a file of it was removed or replaced under the server

    @property
    def may_pass(self) -> bool:
        """Whether the same may go well in a moment, without anybody's doing."""
        return self in (DatabaseTrouble.AWAY, DatabaseTrouble.LOCKED)


_SQLITE = {
    sqlite3.SQLITE_FULL: DatabaseTrouble.FULL,
    sqlite3.SQLITE_READONLY: DatabaseTrouble.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: DatabaseTrouble.READ_ONLY,
    sqlite3.SQLITE_BUSY: DatabaseTrouble.LOCKED,
    sqlite3.SQLITE_LOCKED: DatabaseTrouble.LOCKED,
    # Of a disk that fails, or that the kernel has made read-only for that, it says no more.
    sqlite3.SQLITE_IOERR: DatabaseTrouble.FAILING,
    sqlite3.SQLITE_CORRUPT: DatabaseTrouble.DAMAGED,
    sqlite3.SQLITE_NOTADB: DatabaseTrouble.DAMAGED,
}
# SQLSTATE. A read-only PostgreSQL is a standby: the next connection finds who leads.
_POSTGRESQL = {
    "53100": DatabaseTrouble.FULL,
    READ_ONLY: DatabaseTrouble.AWAY,
    "55P03": DatabaseTrouble.LOCKED,
    "58030": DatabaseTrouble.FAILING,
    "XX001": DatabaseTrouble.DAMAGED,
    "XX002": DatabaseTrouble.DAMAGED,
}
_WORDS = {
    DatabaseTrouble.LOCKED: worded("The database is locked by somebody else."),
    DatabaseTrouble.FULL: worded("The disk of the server's database is full."),
    DatabaseTrouble.READ_ONLY: worded(
        "The server's database cannot be written: its disk is read-only."
    ),
    DatabaseTrouble.FAILING: worded("The disk of the server's database fails."),
    DatabaseTrouble.DAMAGED: worded("The server's database is damaged."),
    DatabaseTrouble.GONE: worded(
        "A file of the server's database was removed or replaced while the server ran."
    ),
}
_TODO = {
    DatabaseTrouble.LOCKED: worded("Try again in a moment."),
    DatabaseTrouble.FULL: worded(
        "Tell whoever runs the server: it goes on as soon as there is room."
    ),
    DatabaseTrouble.READ_ONLY: worded(
        "Tell whoever runs the server; 'tally server doctor' says more."
    ),
    DatabaseTrouble.FAILING: worded(
        "Tell whoever runs the server: the log of the machine's kernel says more."
    ),
    DatabaseTrouble.DAMAGED: worded(
        "Tell whoever runs the server: a backup may have to be put back."
    ),
    DatabaseTrouble.GONE: worded(
        "Tell whoever runs the server: put the file back, or stop the server and restore a backup."
    ),
}


QUIET_S = 30.0  # every request would say the same: the metrics count them
_QUIET_UNTIL: dict[DatabaseTrouble, float] = {}


def trouble_of(error: DBAPIError) -> DatabaseTrouble:
    """What it is; `away` where nothing says more."""
    original = error.orig
    if isinstance(original, NotInPlaceError):
        return DatabaseTrouble.GONE
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF, DatabaseTrouble.AWAY)
    return _POSTGRESQL.get(getattr(original, "sqlstate", None) or "", DatabaseTrouble.AWAY)


def told(error: DBAPIError) -> DatabaseTrouble:
    """What it is, in the log and in the metrics as well."""
    # Late: the metrics library decides at import whether there are several workers.
    from tallystick.server import metrics  # noqa: PLC0415

    trouble = trouble_of(error)
    metrics.DATABASE_TROUBLE.labels(trouble.value).inc()
    if moments.steady() >= _QUIET_UNTIL.get(trouble, 0.0):
        _QUIET_UNTIL[trouble] = moments.steady() + QUIET_S
        what = _WORDS.get(trouble, worded("The database does not answer."))
        log.warning("%s (%s)", what, type(error.orig).__name__)
    return trouble


def over() -> None:
    """The database takes what is written."""
    if _QUIET_UNTIL:
        log.warning("The database takes what is written again.")
    begin_anew()


def begin_anew() -> None:
    """What is told next is told at once."""
    _QUIET_UNTIL.clear()


def must_answer(database: Database) -> None:
    """Before anything else is asked of it. Raises TallyError, in words."""
    try:
        with database.read() as connection:
            connection.execute(text("SELECT 1 FROM alembic_version"))
    except DBAPIError as error:
        trouble = trouble_of(error)
        if trouble is not DatabaseTrouble.AWAY:
            raise no_start(trouble) from None
        # SQLite has no other word for a new database; PostgreSQL has.
        if not database.is_sqlite and is_away(error):
            raise _does_not_answer(database, error) from None


def _does_not_answer(database: Database, error: DBAPIError) -> UnreachableError:
    """Drivers say why, and no password."""
    why = " ".join(str(error.orig).split())[:500]
    return UnreachableError(
        f"The database does not answer: {why}",
        kept="Nothing was changed, and nothing is served.",
        todo="See whether PostgreSQL runs, and whether host, port, name and password in the "
        "database's URL are right.",
    )


def no_start(trouble: DatabaseTrouble) -> TallyError:
    """What is said to whoever starts the server, or asks something of it on the console."""
    return TallyError(
        _WORDS.get(trouble, worded("The database does not answer.")),
        kept="Nothing was changed, and nothing is served.",
        todo=_TODO.get(trouble, worded("Try again in a moment.")),
    )


def on_the_console(error: DBAPIError) -> TallyError | None:
    """What is said to whoever gave a command; None: the database is well, and we are wrong."""
    trouble = trouble_of(error)
    if trouble is DatabaseTrouble.AWAY and (
        not is_away(error) or isinstance(error.orig, sqlite3.Error)
    ):
        return None
    return TallyError(
        _WORDS.get(trouble, worded("The database does not answer.")),
        kept="The change that failed is not in the database.",
        todo=_TODO.get(trouble, worded("Try again in a moment.")),
    )


def refusal(trouble: DatabaseTrouble) -> ApiError:
    """What is said to whoever asked."""
    if trouble is DatabaseTrouble.AWAY:
        return database_away()
    return ApiError(
        503,
        "busy" if trouble is DatabaseTrouble.LOCKED else f"database-{trouble.value}",
        _WORDS[trouble],
        kept=NOTHING_CHANGED,
        todo=_TODO[trouble],
        retry_after_s=2 if trouble is DatabaseTrouble.LOCKED else 60,
    )
