"""Firms (tenants) and their policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from tallystick.server.accounts import sessions
from tallystick.server.accounts.changes import changed, in_entries
from tallystick.server.accounts.policy import FIRM_NAME, FirmPolicy, parse
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import Firm
from tallystick.server.wording.worded import worded


@dataclass(frozen=True)
class KnownFirm:
    """A firm and its policy."""

    id: int
    name: str
    policy: FirmPolicy

    @property
    def display_name(self) -> str:
        """As people call it."""
        return self.policy.display_name or self.name


def add(connection: Connection, ring: ServerKeyRing, name: str, *, now: float, actor: str) -> int:
    """Make a firm with the default policy. → its id. Raises ApiError: 422 bad name, 409 taken."""
    if not FIRM_NAME.fullmatch(name):
        raise ApiError(
            422,
            "bad-name",
            worded("{name!r} cannot be the name of a firm.", name=name),
            kept=NOTHING_CHANGED,
            todo="Use small letters, digits and hyphens, at most 63.",
        )
    try:
        made = connection.execute(insert(Firm).returning(Firm.id), {"name": name, "policy": "{}"})
    except IntegrityError:
        raise ApiError(
            409,
            "duplicate-name",
            worded("There is a firm {name!r} already.", name=name),
            kept=NOTHING_CHANGED,
            todo="Choose another name.",
        ) from None
    firm_id = int(made.scalar_one())
    record(connection, ring, [Act(int(now * 1000), firm_id, actor, "firm-added", name)])
    return firm_id


def by_name(connection: Connection, name: str) -> KnownFirm:
    """Raises ApiError (404)."""
    row = connection.execute(
        select(Firm.id, Firm.name, Firm.policy).where(Firm.name == name)
    ).one_or_none()
    if row is None:
        raise ApiError(
            404,
            "no-such-firm",
            worded("There is no firm {name!r} here.", name=name),
            kept=NOTHING_CHANGED,
            todo="Check the address.",
        )
    return KnownFirm(row.id, row.name, parse(row.policy))


def by_id(connection: Connection, firm_id: int) -> KnownFirm:
    row = connection.execute(
        select(Firm.id, Firm.name, Firm.policy).where(Firm.id == firm_id)
    ).one()
    return KnownFirm(row.id, row.name, parse(row.policy))


def list_all(connection: Connection) -> list[KnownFirm]:
    rows = connection.execute(select(Firm.id, Firm.name, Firm.policy).order_by(Firm.name))
    return [KnownFirm(row.id, row.name, parse(row.policy)) for row in rows]


def policy_from(source: str | Mapping[str, Any]) -> FirmPolicy:
    """A policy from JSON, or from values. Raises ApiError (422) naming each field that is wrong."""
    try:
        if isinstance(source, str):
            return FirmPolicy.model_validate_json(source)
        return FirmPolicy.model_validate(source)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'policy'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ApiError(
            422,
            "bad-policy",
            worded("The policy is not valid: {problems}.", problems=problems),
            kept="The old policy stays in force.",
            todo="Correct the fields named.",
        ) from None


def set_policy(
    connection: Connection,
    ring: ServerKeyRing,
    firm_id: int,
    policy: FirmPolicy,
    *,
    now: float,
    actor: str,
) -> None:
    """Put a policy in force, at once for every worker."""
    old = by_id(connection, firm_id).policy
    changes = changed(dict(old), dict(policy))
    connection.execute(
        update(Firm).where(Firm.id == firm_id).values(policy=policy.model_dump_json())
    )
    sessions.shorten(connection, firm_id, old, policy, now)
    now_ms = int(now * 1000)
    record(
        connection,
        ring,
        [
            Act(now_ms, firm_id, actor, "policy-changed", str(firm_id), entry)
            for entry in in_entries(changes)
        ],
    )
