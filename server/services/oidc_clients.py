"""Registered services: added, changed, removed, and known by their secret or by what they sign
(RFC 7523)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.common import base64url, chance
from tallystick.server.accounts.changes import ROOM, changed, in_entries
from tallystick.server.accounts.incidents import WRONG_TOKEN
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store import origin
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models_login import (
    OidcClient,
    OidcCode,
    OidcGrant,
    OidcLogout,
    OidcRequest,
)

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFE_S = 600
LATE_S = 30  # how far the client's clock may be behind or ahead
MIN_RSA_BITS = 2048
MAX_NAME = 64  # what the column takes
SHOWN_TO = ("token", "par", "revoke")
ASSERTION_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]


@dataclass(frozen=True)
class Client:
    """A registered service."""

    id: str
    firm_id: int
    name: str
    redirect_uris: tuple[str, ...]
    post_logout_uris: tuple[str, ...] = ()
    jwks: str = ""
    backchannel_logout_uri: str = ""


class TokenError(Exception):
    """An error of the token endpoint (RFC 6749 5.2). A wrong secret or access token (401) is in the
    audit log."""

    def __init__(self, error: str, status: int = 400) -> None:
        super().__init__(error)
        if status == HTTPStatus.UNAUTHORIZED:
            origin.note(WRONG_TOKEN)
        self.error = error
        self.status = status


def add_client(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm_id: int,
    name: str,
    redirect_uris: list[str],
    now: float,
    actor: str,
    post_logout_uris: tuple[str, ...] = (),
    jwks: str = "",
    backchannel_logout_uri: str = "",
) -> tuple[str, str]:
    """→ client id and secret; the secret is shown once. jwks: the client signs instead (RFC 7523),
    and has none. Raises ApiError: 422, 409."""
    check_name(name)
    logout = (backchannel_logout_uri,) if backchannel_logout_uri else ()
    for uri in (*redirect_uris, *post_logout_uris, *logout):
        check_uri(uri)
    client_id, secret = f"oc-{chance.token_hex(8)}", chance.token_urlsafe(32)
    try:
        connection.execute(
            insert(OidcClient),
            {
                "id": client_id,
                "firm_id": firm_id,
                "name": name,
                "secret_hash": _digest(secret),
                "redirect_uris": "\n".join(redirect_uris),
                "post_logout_uris": "\n".join(post_logout_uris),
                "jwks": jwks,
                "backchannel_logout_uri": backchannel_logout_uri,
            },
        )
    except IntegrityError:
        raise ApiError(
            409,
            "duplicate-name",
            f"A service named {name!r} exists already.",
            kept=NOTHING_CHANGED,
            todo="Choose another name.",
        ) from None
    facts = {"name": name, "redirect_uris": ", ".join(redirect_uris)[:ROOM]}
    act = Act(int(now * 1000), firm_id, actor, "oidc-client-added", client_id, facts)
    record(connection, ring, [act])
    return client_id, "" if jwks else secret


def check_uri(uri: str) -> None:
    """Raises ApiError (422) for an address that nobody may be sent to with a code."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    local = host in ("localhost", "127.0.0.1", "::1")
    secure = bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and local))
    # Addresses are compared letter by letter: what no browser sends would never fit.
    sent = uri.isascii() and uri.isprintable() and not set(" #*") & set(uri)
    if not secure or not sent or "@" in parts.netloc:
        raise ApiError(
            422,
            "bad-redirect-uri",
            f"{uri!r} cannot be an address of a service.",
            kept=NOTHING_CHANGED,
            todo="Use https (http only for this machine), as a browser sends it: without a "
            "fragment, a name of a user, * or letters beyond ASCII.",
        )


def check_public_url(url: str) -> None:
    """Raises ApiError (422): no issuer can be below it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("https", "http") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise ApiError(
            422,
            "bad-public-url",
            f"{url!r} is no address of a server.",
            kept=NOTHING_CHANGED,
            todo="Give the one that browsers have: https://id.example.",
        )


def check_name(name: str) -> None:
    """Raises ApiError (422)."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise ApiError(
            422,
            "bad-name",
            f"A service cannot be called {name[:MAX_NAME]!r}.",
            kept=NOTHING_CHANGED,
            todo=f"Give it a name on one line, of {MAX_NAME} characters at most.",
        )


def find_client(connection: Connection, firm_id: int, client_id: str) -> Client | None:
    row = connection.execute(
        select(*OidcClient.__table__.columns).where(
            OidcClient.id == client_id, OidcClient.firm_id == firm_id
        )
    ).one_or_none()
    return None if row is None else client_of(row)


def client_of(row: Any) -> Client:
    """row: of the table oidc_client."""
    return Client(
        row.id,
        row.firm_id,
        row.name,
        tuple(row.redirect_uris.split("\n")),
        tuple(row.post_logout_uris.split("\n")) if row.post_logout_uris else (),
        row.jwks,
        row.backchannel_logout_uri,
    )


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
    """values: name, redirect_uris, post_logout_uris, jwks, backchannel_logout_uri. Raises ApiError:
    422, 409."""
    if "name" in values:
        check_name(str(values["name"]))
    for name in ("redirect_uris", "post_logout_uris"):
        for uri in values.get(name, ()):
            check_uri(uri)
    if uri := str(values.get("backchannel_logout_uri", "")):
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
    said = changed({name: getattr(client, name) for name in values}, values)
    if "jwks" in said:  # too long to be read
        said["jwks"] = "other keys"
    for facts in in_entries(said):
        _note(connection, ring, client, "oidc-client-changed", now, actor, facts)


def new_secret(
    connection: Connection, ring: ServerKeyRing, client: Client, *, now: float, actor: str
) -> str:
    """→ the new secret, shown once; the old one is worth nothing from now on."""
    secret = chance.token_urlsafe(32)
    connection.execute(
        update(OidcClient)
        .where(OidcClient.id == client.id)
        .values(secret_hash=_digest(secret), jwks="")
    )
    _note(connection, ring, client, "oidc-client-changed", now, actor, {"secret": "another one"})
    return secret


def remove(
    connection: Connection, ring: ServerKeyRing, client: Client, *, now: float, actor: str
) -> None:
    """With its codes and tokens: nobody signs in with it any more."""
    for table in (OidcCode, OidcGrant, OidcLogout):
        connection.execute(delete(table).where(table.client_id == client.id))
    connection.execute(delete(OidcClient).where(OidcClient.id == client.id))
    _note(connection, ring, client, "oidc-client-removed", now, actor, {"name": client.name})


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


def authenticate(connection: Connection, firm_id: int, client_id: str, secret: str) -> Client:
    """A client by its secret. Raises TokenError (401)."""
    client = find_client(connection, firm_id, client_id)
    stored = connection.scalar(select(OidcClient.secret_hash).where(OidcClient.id == client_id))
    right = hmac.compare_digest(stored or bytes(32), _digest(secret))
    if client is None or not right or client.jwks:
        raise TokenError("invalid_client", 401)
    return client


def by_assertion(
    connection: Connection,
    firm_id: int,
    *,
    issuer: str,
    form: dict[str, str],
    now: float,
) -> Client:
    """The client that has signed an assertion for this provider, once. Raises TokenError (401)."""
    if form.get("client_assertion_type") != ASSERTION:
        raise TokenError("invalid_client", 401)
    assertion = form.get("client_assertion", "")
    client = find_client(connection, firm_id, _issuer_of(assertion))
    if client is None or not client.jwks or form.get("client_id", client.id) != client.id:
        raise TokenError("invalid_client", 401)
    claims = _signed_claims(assertion, client)
    audience = claims.get("aud")
    taken = {issuer, *(f"{issuer}/oidc/{one}" for one in SHOWN_TO)}
    audiences = audience if isinstance(audience, list) else [audience]
    expires, begins, jti = claims.get("exp"), claims.get("nbf", now), claims.get("jti")
    good = (
        claims.get("iss") == claims.get("sub") == client.id
        and taken & {str(one) for one in audiences}
        and isinstance(expires, (int, float))
        and now - LATE_S < expires <= now + ASSERTION_LIFE_S
        and isinstance(begins, (int, float))
        and begins <= now + LATE_S
        and isinstance(jti, str)
        and jti != ""
        and _is_first(connection, firm_id, client.id, jti, int(expires))
    )
    if not good:
        raise TokenError("invalid_client", 401)
    return client


def _signed_claims(assertion: str, client: Client) -> dict[str, Any]:
    """What one of the client's keys has signed. Which one it names is a hint only (RFC 7515 4.1.4):
    a client may have registered it by no name. Raises TokenError (401)."""
    from joserfc import jwt  # noqa: PLC0415
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    for key in KeySet.import_key_set(json.loads(client.jwks)):
        try:
            return dict(jwt.decode(assertion, key, algorithms=ASSERTION_ALGORITHMS).claims)
        except (JoseError, ValueError, TypeError):
            continue
    raise TokenError("invalid_client", 401)


def _issuer_of(assertion: str) -> str:
    """Who says that it is, before that is checked."""
    try:
        body = assertion.split(".")[1]
        return str(json.loads(base64url.decode(body))["iss"])
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
    facts: Mapping[str, str | int],
) -> None:
    act = Act(int(now * 1000), client.firm_id, actor, what, client.id, facts)
    record(connection, ring, [act])


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
