"""A thread that sends what a table says is due. Several workers share the table: a row is claimed
before it is sent, so it goes out once unless a worker dies meanwhile."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from tallystick.common import beside
from tallystick.common.errors import TallyError
from tallystick.server.store.database import Database
from tallystick.server.store.models_login import MessageRow, OidcLogout

log = logging.getLogger(__name__)

POLL_S = 2.0
CLAIM_S = 60
JOIN_S = 15.0


class SendingThread(ABC):
    """The thread. name: of it. background: without, `send_due` is called by somebody else."""

    def __init__(self, name: str, *, background: bool = True) -> None:
        self._wake = threading.Event()
        self._closing = False
        self._thread = beside.Thread(target=self._work, name=name, daemon=True)
        if background:
            self._thread.start()

    @abstractmethod
    def send_one(self) -> bool:
        """Send what is due next. → whether there was something"""

    def wake(self) -> None:
        """There may be something new."""
        self._wake.set()

    def stop(self) -> None:
        self._closing = True
        self._wake.set()

    def join(self) -> None:
        """Wait for what is under way, but not for a receiver that hangs."""
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def _work(self) -> None:
        while not self._closing:
            self._wake.wait(POLL_S)
            self._wake.clear()
            self.send_due()

    def send_due(self) -> None:
        """Send what is due now, in this thread."""
        try:
            while not self._closing and self.send_one():
                pass
        except (DBAPIError, TallyError) as error:
            log.warning("messages wait: %s", type(error).__name__)


def claim(
    database: Database, table: type[MessageRow | OidcLogout], row_id: int, tries: int, now: int
) -> bool:
    """Put a row off, for us or for the next try. → False: another worker has it"""
    with database.write() as connection:
        claimed = connection.execute(
            update(table)
            .where(table.id == row_id, table.tries == tries)
            .values(tries=tries + 1, due_at=now + CLAIM_S * 2 ** min(tries, 6))
        )
    return claimed.rowcount == 1
