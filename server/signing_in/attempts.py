"""A log-in or recovery under way: what one browser has proved so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server.accounts.sessions import digest, new_token
from tallystick.server.store.database import StaleError
from tallystick.server.store.models_login import Attempt, SentCode

LIFE_S = 900


class Purpose(StrEnum):
    LOGIN = "login"
    RADIUS = "radius"
    RECOVERY = "recovery"
    ENROL = "enrol"
    PROVE = "prove"
    KEY_ALONE = "key-alone"


class Stage(StrEnum):
    """second: the password was right, a second factor is asked for. prove: a factor that may
    recover is asked for. reset: a new password may be set. confirm: a factor waits for proof."""

    SECOND = "second"
    PROVE = "prove"
    RESET = "reset"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Under:
    """An attempt under way. id: its token's hash. person_id None: nobody of that name; it looks
    the same and cannot succeed. context: JSON values of the flow."""

    id: bytes
    firm_id: int
    person_id: int | None
    purpose: Purpose
    stage: Stage
    context: Mapping[str, Any]


def begin(
    connection: Connection,
    *,
    firm_id: int,
    person_id: int | None,
    purpose: Purpose,
    stage: Stage,
    context: Mapping[str, Any],
    source: str,
    now: float,
    token: str | None = None,
) -> str:
    """→ the token for the browser's cookie, or the one given. Attempts that are over, and an older
    one of the same token, are cleared away."""
    token = token or new_token()
    over = (Attempt.expires_at <= int(now)) | (Attempt.token_hash == digest(token))
    hashes = select(Attempt.token_hash).where(over)
    connection.execute(delete(SentCode).where(SentCode.attempt.in_(hashes)))
    connection.execute(delete(Attempt).where(over))
    connection.execute(
        insert(Attempt),
        {
            "token_hash": digest(token),
            "firm_id": firm_id,
            "person_id": person_id,
            "purpose": purpose.value,
            "stage": stage.value,
            "context": json.dumps(dict(context)),
            "source": source[:64],
            "expires_at": int(now) + LIFE_S,
        },
    )
    return token


def find(
    connection: Connection, token: str, firm_id: int, purpose: Purpose, now: float
) -> Under | None:
    """The attempt of a cookie, locked until the transaction ends."""
    row = connection.execute(
        select(*Attempt.__table__.columns)
        .where(
            Attempt.token_hash == digest(token),
            Attempt.firm_id == firm_id,
            Attempt.purpose == purpose.value,
            Attempt.expires_at > int(now),
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        return None
    return Under(
        row.token_hash,
        row.firm_id,
        row.person_id,
        Purpose(row.purpose),
        Stage(row.stage),
        json.loads(row.context),
    )


def advance(
    connection: Connection, attempt: Under, *, stage: Stage, context: Mapping[str, Any]
) -> None:
    """Raises StaleError when another request moved it first."""
    moved = connection.execute(
        update(Attempt)
        .where(Attempt.token_hash == attempt.id, Attempt.stage == attempt.stage.value)
        .values(stage=stage.value, context=json.dumps(dict(context)))
    )
    if moved.rowcount != 1:
        raise StaleError


def finish(connection: Connection, attempt: Under) -> None:
    """It has served its purpose. Raises StaleError when another request used it first."""
    connection.execute(delete(SentCode).where(SentCode.attempt == attempt.id))
    gone = connection.execute(delete(Attempt).where(Attempt.token_hash == attempt.id))
    if gone.rowcount != 1:
        raise StaleError
