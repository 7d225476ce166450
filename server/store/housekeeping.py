"""Take away what time has made worthless. Nothing depends on it: ends are checked when read.

Loans that are over stay: the card is overdue until somebody has it in his hand again."""

from __future__ import annotations

from sqlalchemy import delete, select

from tallystick.server.store.database import Database
from tallystick.server.store.models_login import (
    Attempt,
    HelpRequest,
    OidcCode,
    RateRow,
    RememberedDevice,
    SentCode,
    SessionRow,
)

EVERY_S = 600.0


def sweep(database: Database, now: float) -> None:
    """Delete expired rows, in one short transaction."""
    past = int(now)
    with database.write() as connection:
        over = select(Attempt.token_hash).where(Attempt.expires_at <= past)
        ended = select(SessionRow.id).where(SessionRow.expires_at <= past)
        for statement in (
            delete(SentCode).where((SentCode.expires_at <= past) | SentCode.attempt.in_(over)),
            delete(Attempt).where(Attempt.expires_at <= past),
            delete(OidcCode).where((OidcCode.expires_at <= past) | OidcCode.session_id.in_(ended)),
            delete(SessionRow).where(SessionRow.expires_at <= past),
            delete(RememberedDevice).where(RememberedDevice.expires_at <= past),
            delete(HelpRequest).where(HelpRequest.expires_at <= past),
            delete(RateRow).where(RateRow.ends_at <= past),
        ):
            connection.execute(statement)
