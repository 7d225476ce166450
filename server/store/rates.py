"""Rate limits in the database, so that they hold across workers."""

from __future__ import annotations

from sqlalchemy import Connection, case, delete
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.models_login import RateRow


def take(
    connection: Connection, bucket: str, *, limit: int, window_s: int, now: float, what: str
) -> None:
    """Count one event of `bucket` in this window of time, in one statement.

    bucket: at most 120 characters, no personal data in clear. Raises ApiError (429) when `limit`
    was reached; `what` says what there was too much of.
    """
    ends_at = (int(now) // window_s + 1) * window_s
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    fresh = insert(RateRow).values(bucket=bucket, ends_at=ends_at, count=1)
    count = connection.execute(
        fresh.on_conflict_do_update(
            index_elements=[RateRow.bucket],
            set_={
                "ends_at": ends_at,
                "count": case((RateRow.ends_at == ends_at, RateRow.count + 1), else_=1),
            },
        ).returning(RateRow.count)
    ).scalar_one()
    if count > limit:
        raise ApiError(
            429,
            "too-many",
            f"Too many {what}.",
            kept=NOTHING_CHANGED,
            todo=f"Try again in {ends_at - int(now)} seconds.",
        )


def clear(connection: Connection, bucket: str) -> None:
    """Start counting anew."""
    connection.execute(delete(RateRow).where(RateRow.bucket == bucket))
