"""Rate limits in the database, so that they hold across workers."""

from __future__ import annotations

from sqlalchemy import Connection, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store import origin
from tallystick.server.store.models_login import RateRow
from tallystick.server.store.origin import Incident
from tallystick.server.wording.worded import worded


def take(
    connection: Connection, bucket: str, *, limit: int, window_s: int, now: float, what: str
) -> None:
    """Count one event of `bucket` in this window of time, in one statement.

    bucket: at most 120 characters, no personal data in clear. Raises ApiError (429) when `limit`
    was reached; `what` says what there was too much of.
    """
    ends_at = _end(now, window_s)
    count = _count(connection, bucket, ends_at)
    if count > limit:
        raise _too_many(bucket, what, ends_at - int(now))


def note(connection: Connection, bucket: str, *, window_s: int, now: float) -> int:
    """Count one event that nothing is refused for, now. → how many there are in this window"""
    return _count(connection, bucket, _end(now, window_s))


def refuse_at(
    connection: Connection, bucket: str, *, limit: int, window_s: int, now: float, what: str
) -> None:
    """Raises ApiError (429) when `limit` was reached; counts nothing."""
    ends_at = _end(now, window_s)
    count = connection.scalar(
        select(RateRow.count).where(RateRow.bucket == bucket, RateRow.ends_at == ends_at)
    )
    if count is not None and count >= limit:
        raise _too_many(bucket, what, ends_at - int(now))


def once(connection: Connection, bucket: str, *, until: int) -> bool:
    """Whether this is the first time that `bucket` comes, of all workers. It is remembered until
    then."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    fresh = insert(RateRow).values(bucket=bucket, ends_at=until, count=1)
    made = connection.execute(
        fresh.on_conflict_do_nothing(index_elements=[RateRow.bucket]).returning(RateRow.bucket)
    )
    return made.scalar() is not None


def _end(now: float, window_s: int) -> int:
    return (int(now) // window_s + 1) * window_s


def _count(connection: Connection, bucket: str, ends_at: int) -> int:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    fresh = insert(RateRow).values(bucket=bucket, ends_at=ends_at, count=1)
    return connection.execute(
        fresh.on_conflict_do_update(
            index_elements=[RateRow.bucket],
            set_={
                "ends_at": ends_at,
                "count": case((RateRow.ends_at == ends_at, RateRow.count + 1), else_=1),
            },
        ).returning(RateRow.count)
    ).scalar_one()


def _too_many(bucket: str, what: str, wait_s: int) -> ApiError:
    origin.note(Incident(f"{bucket}|refused"[:120], "limit-reached", what))
    return ApiError(
        429,
        "too-many",
        worded("Too many {what}.", what=what),
        kept=NOTHING_CHANGED,
        todo=worded("Try again in {wait_s} seconds.", wait_s=wait_s),
        retry_after_s=wait_s,
    )


def clear(connection: Connection, bucket: str) -> None:
    """Start counting anew, also what is counted apart below this bucket (`BUCKET|…`)."""
    escaped = bucket.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    below = RateRow.bucket.like(f"{escaped}|%", escape="\\")
    connection.execute(delete(RateRow).where((RateRow.bucket == bucket) | below))
