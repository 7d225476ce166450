"""Take away what time has made worthless. Nothing depends on it: ends are checked when read.

Loans that are over stay: the card is overdue until somebody has it in his hand again. So do
tombstones: a counter must never go back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.exc import DBAPIError

from tallystick.common.errors import TallyError
from tallystick.server.store import audit
from tallystick.server.store.database import Database, patient
from tallystick.server.store.declared import Base
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import (
    AuditCheckpoint,
    AuditEntry,
    AuditHead,
    CheckAnswer,
    DeskActRow,
)
from tallystick.server.store.models_login import (
    Attempt,
    Factor,
    HelpRequest,
    OidcAgain,
    OidcCode,
    OidcGrant,
    OidcLogout,
    OidcRequest,
    RateRow,
    RememberedDevice,
    SentCode,
    SessionRow,
    SigningKeyRow,
)
from tallystick.server.store.periodic import PeriodicThread

EVERY_S = 600.0
UNCONFIRMED_S = 86400  # an enrolment that was begun and left
RETIRED_S = 30 * 86400  # a signing key that signs nothing, and is not published, any more

log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps now and then, and prunes the audit log where a firm wants that.
    audit_days: how long entries are kept; 0: for ever."""

    def __init__(
        self,
        database: Database,
        ring: ServerKeyRing,
        clock: Callable[[], float],
        audit_days: int,
        *,
        background: bool = True,
    ) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock
        self._audit_days = audit_days
        self._thread = PeriodicThread("sweeper", self.sweep_now, EVERY_S, background=background)

    def close(self) -> None:
        self._thread.close()

    def sweep_now(self) -> None:
        try:
            with patient():
                sweep(self._database, self._clock())
                if self._audit_days:
                    prune_audit(self._database, self._ring, self._clock(), self._audit_days)
        except (DBAPIError, TallyError) as error:
            log.warning("nothing was swept: %s", type(error).__name__)


def prune_audit(
    database: Database, ring: ServerKeyRing, now: float, days: int, actor: str = "server"
) -> int:
    """Forget entries that are older. → how many"""
    before_ms = int((now - days * 86400) * 1000)
    return database.run(lambda c: audit.prune(c, ring, before_ms=before_ms, now=now, actor=actor))


def rows(connection: Connection) -> dict[str, int]:
    """How many rows each table has. The audit log's are not counted one by one."""
    counts = {
        name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for name, table in Base.metadata.tables.items()
        if name != AuditEntry.__tablename__
    }
    written = connection.scalar(select(func.coalesce(func.sum(AuditHead.number), 0)))
    pruned = connection.scalar(select(func.coalesce(func.sum(AuditCheckpoint.number), 0)))
    return counts | {AuditEntry.__tablename__: int(written or 0) - int(pruned or 0)}


def size_bytes(connection: Connection) -> int:
    """What the database takes on its disk."""
    query = "SELECT pg_database_size(current_database())"
    if connection.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    return int(connection.execute(text(query)).scalar_one())


def sweep(database: Database, now: float) -> None:
    """Delete what is over, in one short transaction."""
    past = int(now)
    with database.write() as connection:
        over = select(Attempt.token_hash).where(Attempt.expires_at <= past)
        ended = select(SessionRow.id).where(SessionRow.expires_at <= past)
        for statement in (
            delete(SentCode).where((SentCode.expires_at <= past) | SentCode.attempt.in_(over)),
            delete(Attempt).where(Attempt.expires_at <= past),
            delete(OidcCode).where((OidcCode.expires_at <= past) | OidcCode.session_id.in_(ended)),
            delete(OidcGrant).where(
                (OidcGrant.expires_at <= past) | OidcGrant.session_id.in_(ended)
            ),
            delete(OidcRequest).where(OidcRequest.expires_at <= past),
            delete(OidcLogout).where(OidcLogout.due_at.is_(None), OidcLogout.expires_at <= past),
            delete(CheckAnswer).where(CheckAnswer.expires_at <= past),
            delete(SessionRow).where(SessionRow.expires_at <= past),
            delete(RememberedDevice).where(RememberedDevice.expires_at <= past),
            delete(OidcAgain).where(OidcAgain.expires_at <= past),
            delete(HelpRequest).where(HelpRequest.expires_at <= past),
            delete(DeskActRow).where(DeskActRow.until <= past),
            delete(RateRow).where(RateRow.ends_at <= past),
            delete(Factor).where(
                Factor.confirmed_at.is_(None), Factor.created_at <= past - UNCONFIRMED_S
            ),
            delete(SigningKeyRow).where(SigningKeyRow.retired_at <= past - RETIRED_S),
        ):
            connection.execute(statement)
