"""Bearer credentials of stations, services and administrators: make, find, list, revoke.

A token is 256 random bits, so its SHA-256 is enough to recognise it and useless to a thief of the
database. A station also has a pre-shared key (AES-128) for its PSKC containers, encrypted at rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.common import chance
from tallystick.common.secret import Secret
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models import CredentialRow, Firm, PersonRow
from tallystick.server.wording.worded import worded

DEFAULT_FIRM = 1
PSK_SIZE = 16
PREFIX = "tally_"  # lets secret scanners recognise a leaked token
MAX_TOKEN_LENGTH = 128


# Built once: putting a statement together takes longer than running it.
_BY_TOKEN = (
    select(
        CredentialRow.token_hash,
        CredentialRow.id,
        CredentialRow.firm_id,
        CredentialRow.role,
        CredentialRow.name,
        CredentialRow.revoked_at,
        Firm.policy,
    )
    .join(Firm, Firm.id == CredentialRow.firm_id)
    .where(CredentialRow.token_hash.in_(bindparam("hashes")))
)


class Role(StrEnum):
    """What a credential may do. One credential, one role."""

    STATION = "station"
    SERVICE = "service"
    ADMIN = "admin"
    MONITOR = "monitor"  # reads metrics, nothing else
    SCIM = "scim"  # a firm's directory tells of people and groups, by SCIM
    DESK = "desk"  # one of the support staff: lends and takes back, with the card in the hand


@dataclass(frozen=True)
class Caller:
    """Who is calling: an authenticated credential. policy: its firm's, as stored. person_role: of
    one of the firm's people, in the portal."""

    id: str
    firm_id: int
    role: Role
    name: str
    policy: str
    person_role: PersonRole | None = None


@dataclass(frozen=True)
class NewCredential:
    """Shown once. psk: stations only."""

    id: str
    role: Role
    token: Secret
    psk: Secret | None


def add(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    role: Role,
    name: str,
    now: float,
    actor: str,
    firm_id: int = DEFAULT_FIRM,
) -> NewCredential:
    """Make a credential. Raises ApiError (409) when the name is taken."""
    credential_id = f"{role.value[:2]}-{chance.token_hex(6)}"
    token = PREFIX + chance.token_urlsafe(32)
    psk = Secret.random(PSK_SIZE) if role is Role.STATION else None
    box = ring.encrypt(psk.reveal(), psk_binding(credential_id)) if psk else None
    try:
        connection.execute(
            insert(CredentialRow),
            {
                "id": credential_id,
                "firm_id": firm_id,
                "role": role.value,
                "name": name,
                "token_hash": hash_token(token),
                "psk_key_id": box.key_id if box else None,
                "psk_box": box.blob if box else None,
                "created_at": int(now),
            },
        )
    except IntegrityError:
        raise ApiError(
            409,
            "duplicate-name",
            f"A credential named {name!r} exists already.",
            kept="It was not changed.",
            todo="Choose another name, or revoke the old one.",
        ) from None
    act = Act(_ms(now), firm_id, actor, "credential-added", credential_id, {"role": role.value})
    record(connection, ring, [act])
    return NewCredential(credential_id, role, Secret(token.encode()), psk)


def hash_token(token: str) -> bytes:
    """SHA-256 of a bearer token, as the database stores it."""
    return hashlib.sha256(token.encode()).digest()


def authenticate(connection: Connection, token_hash: bytes) -> Caller:
    """The credential with this token hash. Raises ApiError (401) when unknown or revoked."""
    return authenticate_all(connection, [token_hash])[token_hash].caller()


@dataclass(frozen=True)
class Lookup:
    """What was found for one token hash."""

    row: AnyRow | None

    def caller(self) -> Caller:
        """Raises ApiError (401) when the credential is unknown or revoked."""
        if self.row is None:
            raise unknown_credential()
        if self.row.revoked_at is not None:
            raise ApiError(
                401,
                "revoked-credential",
                f"The credential {self.row.id} was revoked.",
                kept=NOTHING_CHANGED,
                todo="Ask an administrator for a new one.",
            )
        row = self.row
        return Caller(row.id, row.firm_id, Role(row.role), row.name, row.policy)


def authenticate_all(
    connection: Connection, token_hashes: Collection[bytes]
) -> dict[bytes, Lookup]:
    """Look several token hashes up in one statement."""
    rows = connection.execute(_BY_TOKEN, {"hashes": list(token_hashes)})
    found = {row.token_hash: row for row in rows}
    return {digest: Lookup(found.get(digest)) for digest in token_hashes}


def must_still_be(connection: Connection, caller: Caller) -> None:
    """For acts that take long to be sent, in the transaction that does them. Raises ApiError (401)
    when the credential was revoked since it was looked up, or the person is barred or has another
    role."""
    if caller.person_role is None:
        revoked = CredentialRow.id == caller.id, CredentialRow.revoked_at.is_not(None)
        taken = connection.scalar(select(CredentialRow.id).where(*revoked)) is not None
    else:
        number = int(caller.id.removeprefix("person:"))
        as_then = (
            PersonRow.id == number,
            PersonRow.role == caller.person_role.value,
            PersonRow.disabled_at.is_(None),
        )
        taken = connection.scalar(select(PersonRow.id).where(*as_then)) is None
    if taken:
        raise ApiError(
            401,
            "rights-taken",
            worded("Meanwhile the right to do this was taken from {name}.", name=caller.name),
            kept=NOTHING_CHANGED,
            todo=worded("Ask an administrator of your firm."),
        )


def unknown_credential() -> ApiError:
    return ApiError(
        401,
        "unknown-credential",
        "The request carries no credential that this server knows.",
        kept=NOTHING_CHANGED,
        todo="Send 'Authorization: Bearer TOKEN' with a token from 'tally server credential add'.",
    )


def station_psk(connection: Connection, ring: ServerKeyRing, credential_id: str) -> Secret:
    """The pre-shared key that a station's containers are encrypted under."""
    row = connection.execute(
        select(CredentialRow.psk_key_id, CredentialRow.psk_box).where(
            CredentialRow.id == credential_id
        )
    ).one()
    return Secret(ring.decrypt(Box(row.psk_key_id, row.psk_box), psk_binding(credential_id)))


def list_all(connection: Connection, firm_id: int | None = None) -> list[dict[str, Any]]:
    """Credentials without anything secret, oldest first."""
    query = select(
        CredentialRow.id,
        CredentialRow.role,
        CredentialRow.name,
        CredentialRow.created_at,
        CredentialRow.revoked_at,
        Firm.name.label("firm"),
    )
    query = query.join(Firm, Firm.id == CredentialRow.firm_id)
    query = query.order_by(CredentialRow.created_at, CredentialRow.id)
    if firm_id is not None:
        query = query.where(CredentialRow.firm_id == firm_id)
    return [dict(row._mapping) for row in connection.execute(query)]


def revoke(
    connection: Connection,
    ring: ServerKeyRing,
    credential_id: str,
    *,
    now: float,
    actor: str,
    firm_id: int | None = None,
) -> None:
    """Refuse the credential from now on. Revoking twice is the same as once.

    Raises ApiError (404).
    """
    wanted = CredentialRow.id == credential_id
    if firm_id is not None:
        wanted &= CredentialRow.firm_id == firm_id
    row = connection.execute(
        select(CredentialRow.firm_id, CredentialRow.revoked_at).where(wanted).with_for_update()
    ).one_or_none()
    if row is None:
        raise ApiError(
            404,
            "no-such-credential",
            f"There is no credential {credential_id!r}.",
            kept=NOTHING_CHANGED,
            todo="List them with 'tally server credential list'.",
        )
    if row.revoked_at is not None:
        return
    connection.execute(update(CredentialRow).where(wanted).values(revoked_at=int(now)))
    record(
        connection,
        ring,
        [Act(_ms(now), row.firm_id, actor, "credential-revoked", credential_id)],
    )


def psk_binding(credential_id: str) -> str:
    """What a station's stored key is bound to (AES-GCM associated data)."""
    return f"tallystick/psk|{credential_id}"


def _ms(now: float) -> int:
    return int(now * 1000)
