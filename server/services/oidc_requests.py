"""Authorisation requests that are kept here: too long for an address, or pushed (RFC 9126)."""

from __future__ import annotations

import hashlib
import json

from sqlalchemy import Connection, delete, func, insert, select

from tallystick.common import chance
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.services.oidc_clients import Client
from tallystick.server.store.models_login import OidcRequest

KEPT_S = 3600
PUSHED_S = 90
MOST = 10_000  # at once, in a firm: anyone may come with one
URN = "urn:ietf:params:oauth:request_uri:"


def keep(
    connection: Connection,
    firm_id: int,
    query: dict[str, str],
    now: float,
    pushed_by: Client | None = None,
) -> str:
    """→ its name, which nobody can guess. Raises ApiError (503) when too many are kept."""
    connection.execute(delete(OidcRequest).where(OidcRequest.expires_at <= int(now)))
    count = select(func.count()).select_from(OidcRequest).where(OidcRequest.firm_id == firm_id)
    if connection.execute(count).scalar_one() >= MOST:
        raise ApiError(
            503,
            "busy",
            "Too many people are on their way to services now.",
            kept=NOTHING_CHANGED,
            todo="Try again in a minute.",
            retry_after_s=60,
        )
    name = chance.token_urlsafe(24)
    connection.execute(
        insert(OidcRequest),
        {
            "id_hash": _digest(name),
            "firm_id": firm_id,
            "pushed_by": pushed_by.id if pushed_by else "",
            "query": json.dumps(query),
            "expires_at": int(now) + (PUSHED_S if pushed_by else KEPT_S),
        },
    )
    return name


def kept(
    connection: Connection, firm_id: int, name: str, now: float, pushed_by: str = ""
) -> dict[str, str] | None:
    """The request of this name; pushed_by: the client that has pushed it."""
    text = connection.scalar(
        select(OidcRequest.query).where(
            OidcRequest.id_hash == _digest(name),
            OidcRequest.firm_id == firm_id,
            OidcRequest.pushed_by == pushed_by,
            OidcRequest.expires_at > int(now),
        )
    )
    return json.loads(text) if text else None


def forget(connection: Connection, name: str) -> None:
    """It was answered."""
    connection.execute(delete(OidcRequest).where(OidcRequest.id_hash == _digest(name)))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
