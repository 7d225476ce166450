"""Keys that sign what services read: one that signs now, and those of before, published for a
day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import Connection, insert, select, update

from tallystick.common import chance
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models_login import SigningKeyRow

if TYPE_CHECKING:  # joserfc is imported where it is used: a server's start does not wait for it
    from joserfc.jwk import RSAKey

ALGORITHM = "RS256"
KEPT_AFTER_ROTATION_S = 86400


def current(connection: Connection, ring: ServerKeyRing, now: float) -> RSAKey:
    """The key that signs now; made when there is none."""
    for retired_at, key in _keys(connection, ring, now):
        if retired_at is None:
            return key
    _make_key(connection, ring, now)
    return current(connection, ring, now)


def public_keys(connection: Connection, ring: ServerKeyRing, now: float) -> dict[str, Any]:
    """The JWKS: the key that signs now, and those that signed until a day ago."""
    current(connection, ring, now)
    keys = [key.as_dict(private=False) for _, key in _keys(connection, ring, now)]
    return {"keys": [one | {"use": "sig", "alg": ALGORITHM} for one in keys]}


def rotate(connection: Connection, ring: ServerKeyRing, *, now: float, actor: str) -> str:
    """Sign with a new key from now on; the old one stays published for a day. → its id"""
    connection.execute(
        update(SigningKeyRow).where(SigningKeyRow.retired_at.is_(None)).values(retired_at=int(now))
    )
    key_id = _make_key(connection, ring, now)
    record(connection, ring, [Act(int(now * 1000), None, actor, "signing-key-made", key_id)])
    return key_id


def claims_of(
    connection: Connection, ring: ServerKeyRing, token: str, now: float
) -> dict[str, Any] | None:
    from joserfc import jwt  # noqa: PLC0415
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import KeySet  # noqa: PLC0415

    keys = KeySet([key for _, key in _keys(connection, ring, now)])
    try:
        return dict(jwt.decode(token, keys, algorithms=[ALGORITHM]).claims)
    except (JoseError, ValueError):
        return None


def binding(key_id: str) -> str:
    """What a stored signing key is bound to (AES-GCM associated data)."""
    return f"tallystick/signing-key|{key_id}"


def _make_key(connection: Connection, ring: ServerKeyRing, now: float) -> str:
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    key_id = f"sk-{chance.token_hex(6)}"
    key = RSAKey.generate_key(2048, {"kid": key_id}, private=True)
    box = ring.encrypt(key.as_pem(private=True), binding(key_id))
    connection.execute(
        insert(SigningKeyRow),
        {"id": key_id, "key_id": box.key_id, "key_box": box.blob, "created_at": int(now)},
    )
    return key_id


def _keys(
    connection: Connection, ring: ServerKeyRing, now: float
) -> list[tuple[int | None, RSAKey]]:
    rows = connection.execute(
        select(*SigningKeyRow.__table__.columns)
        .where(
            SigningKeyRow.retired_at.is_(None)
            | (SigningKeyRow.retired_at > int(now) - KEPT_AFTER_ROTATION_S)
        )
        .order_by(SigningKeyRow.created_at.desc(), SigningKeyRow.id)
    )
    keys: list[tuple[int | None, RSAKey]] = []
    for row in rows:
        pem = ring.decrypt(Box(row.key_id, row.key_box), binding(row.id))
        keys.append((row.retired_at, _loaded(pem, row.id)))
    return keys


def _loaded(pem: bytes, key_id: str) -> RSAKey:
    """The key as it was made here: its box has vouched for it, and to try its primes again would
    cost 37 ms at every token."""
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)
    return RSAKey(key, pem, {"kid": key_id})
