"""Does the database take what is written? Asked by doing it: reading goes well for long where
nothing can be written any more."""

from __future__ import annotations

import threading

from sqlalchemy import text, update

from tallystick.common import moments
from tallystick.server.store.database import Database
from tallystick.server.store.models import AuditHead
from tallystick.server.store.trouble import DatabaseTrouble, refusal

FRESH_S = 1.0
WAIT_S = 2.0


def must_take_writes(database: Database) -> None:
    """Commit a transaction that changes nothing, and reaches the disk on SQLite. Raises
    DBAPIError."""
    with database.write() as connection:
        connection.execute(update(AuditHead).where(AuditHead.chain == "").values(number=0))
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA user_version = 0")
        else:
            connection.execute(text("SELECT txid_current()"))  # a standby gives none


class WriteProbe:
    """For whoever asks often, and is anybody: at most one such transaction at a time, and one a
    second while all is well. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._well_until = 0.0

    def check(self) -> None:
        """Raises DBAPIError; ApiError where another's probe has been waiting for a while."""
        if not self._lock.acquire(timeout=WAIT_S):
            raise refusal(DatabaseTrouble.LOCKED)
        try:
            if moments.steady() >= self._well_until:
                must_take_writes(self._database)
                self._well_until = moments.steady() + FRESH_S
        finally:
            self._lock.release()
