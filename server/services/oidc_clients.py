"""Registered services: listed, changed, removed, and known by what they sign (RFC 7523)."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.services.oidc import (
    ASSERTION_ALGORITHMS,
    Client,
    TokenError,
    check_uri,
    client_of,
    find_client,
)
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models_login import OidcClient, OidcCode, OidcGrant, OidcRequest

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S = 600
LATE_S = 30  # how far the client's clock may be behind or ahead
MIN_RSA_BITS = 2048


def listed(connection: Connection, firm_id: int) -> list[Client]:
    """By name."""
    query = select(*OidcClient.__table__.columns).where(OidcClient.firm_id == firm_id)
    return [client_of(row) for row in connection.execute(query.order_by(OidcClient.name))]


def named(connection: Connection, firm_id: int, name: str) -> Client:
    """By its id, or its name. Raises ApiError (404)."""
    for client in listed(connection, firm_id):
        if name in (client.id, client.name):
            return client
    raise ApiError(
        404,
        "no-such-service",
        f"There is no service {name!r} in this firm.",
        kept=NOTHING_CHANGED,
        todo="See 'tally server oidc list'.",
    )


def change(
    connection: Connection,
    ring: ServerKeyRing,
    client: Client,
    *,
    now: float,
    actor: str,
    **values: str | tuple[str, ...],
) -> None:
    """values: name, redirect_uris, post_logout_uris, jwks. Raises ApiError: 422, 409."""
    for name in ("redirect_uris", "post_logout_uris"):
        for uri in values.get(name, ()):
            check_uri(uri)
    columns = {k: v if isinstance(v, str) else "\n".join(v) for k, v in values.items()}
    try:
        connection.execute(update(OidcClient).where(OidcClient.id == client.id).values(**columns))
    except IntegrityError:
        raise ApiError(
            409,
            "duplicate-name",
            f"A service named {values.get('name')!r} exists already.",
            kept=NOTHING_CHANGED,
            todo="Choose another name.",
        ) from None
    _note(connection, ring, client, "oidc-client-changed", now, actor, sorted(values))


def new_secret(
    connection: Connection, ring: ServerKeyRing, client: Client, *, now: float, actor: str
) -> str:
    """→ the new secret, shown once; the old one is worth nothing from now on."""
    secret = secrets.token_urlsafe(32)
    connection.execute(
        update(OidcClient)
        .where(OidcClient.id == client.id)
        .values(secret_hash=hashlib.sha256(secret.encode()).digest(), jwks="")
    )
    _note(connection, ring, client, "oidc-client-changed", now, actor, ["secret"])
    return secret


def remove(
    connection: Connection, ring: ServerKeyRing, client: Client, *, now: float, actor: str
) -> None:
    """With its codes and tokens: nobody signs in with it any more."""
    for table in (OidcCode, OidcGrant):
        connection.execute(delete(table).where(table.client_id == client.id))
    connection.execute(delete(OidcClient).where(OidcClient.id == client.id))
    _note(connection, ring, client, "oidc-client-removed", now, actor, [])


def checked_jwks(text: str) -> str:
    """A client's public keys, as they are kept. Raises ApiError (422)."""
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    try:
        keys = KeySet.import_key_set(json.loads(text))
        public = [key.as_dict(private=False) for key in keys]
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        public = []
    good = public and all(one.get("kty") in ("RSA", "EC", "OKP") for one in public)
    small = any(len(one.get("n", "")) * 6 < MIN_RSA_BITS for one in public if one["kty"] == "RSA")
    if not good or small:
        raise ApiError(
            422,
            "bad-keys",
            f"That is no set of public keys (RFC 7517): RSA of {MIN_RSA_BITS} bits, EC or OKP.",
            kept=NOTHING_CHANGED,
            todo="Give the service's JWKS as JSON.",
        )
    return json.dumps({"keys": public})


def by_assertion(
    connection: Connection,
    firm_id: int,
    *,
    issuer: str,
    form: dict[str, str],
    now: float,
) -> Client:
    """The client that has signed an assertion for this provider, once. Raises TokenError (401)."""
    from joserfc import jwt  # noqa: PLC0415
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    if form.get("client_assertion_type") != ASSERTION:
        raise TokenError("invalid_client", 401)
    assertion = form.get("client_assertion", "")
    client = find_client(connection, firm_id, _issuer_of(assertion))
    if client is None or not client.jwks or form.get("client_id", client.id) != client.id:
        raise TokenError("invalid_client", 401)
    keys = KeySet.import_key_set(json.loads(client.jwks))
    try:
        claims = jwt.decode(assertion, keys, algorithms=ASSERTION_ALGORITHMS).claims
    except (JoseError, ValueError):
        raise TokenError("invalid_client", 401) from None
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    expires, jti = claims.get("exp"), claims.get("jti")
    good = (
        claims.get("iss") == claims.get("sub") == client.id
        and {issuer, f"{issuer}/oidc/token", f"{issuer}/oidc/par"} & {str(one) for one in audiences}
        and isinstance(expires, int)
        and now - LATE_S < expires <= now + ASSERTION_LIFE_S
        and isinstance(jti, str)
        and _is_first(connection, firm_id, client.id, jti, expires)
    )
    if not good:
        raise TokenError("invalid_client", 401)
    return client


def _issuer_of(assertion: str) -> str:
    """Who says that it is, before that is checked."""
    from base64 import urlsafe_b64decode  # noqa: PLC0415

    try:
        body = assertion.split(".")[1]
        return str(json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"])
    except (ValueError, IndexError, KeyError, TypeError, RecursionError):
        return ""


def _is_first(connection: Connection, firm_id: int, client_id: str, jti: str, expires: int) -> bool:
    digest = hashlib.sha256(f"assertion\0{client_id}\0{jti}".encode()).digest()
    try:
        with connection.begin_nested():
            connection.execute(
                insert(OidcRequest),
                {
                    "id_hash": digest,
                    "firm_id": firm_id,
                    "pushed_by": client_id,
                    "query": "",
                    "expires_at": expires + LATE_S,
                },
            )
    except IntegrityError:
        return False
    return True


def _note(
    connection: Connection,
    ring: ServerKeyRing,
    client: Client,
    what: str,
    now: float,
    actor: str,
    changed: list[str],
) -> None:
    details: dict[str, Any] = {"changed": ", ".join(changed)} if changed else {}
    act = Act(int(now * 1000), client.firm_id, actor, what, client.id, details)
    record(connection, ring, [act])
