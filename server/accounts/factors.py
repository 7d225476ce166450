"""Enrolled factors of a person: list, rename, remove, and move their state by compare-and-set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from tallystick.server.accounts import people
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.throttle import Throttle
from tallystick.server.store import numbers
from tallystick.server.store.database import AnyRow, StaleError
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models_login import Factor


@dataclass(frozen=True)
class Enrolled:
    """A factor as it was read. facts: public parameters. Times in seconds since 1970."""

    id: int
    firm_id: int
    person_id: int
    kind: MethodKind
    label: str
    facts: Mapping[str, Any]
    position: int
    throttle: Throttle
    created_at: int
    confirmed_at: int | None
    last_used_at: int | None
    box: Box | None
    external_id: bytes | None

    def secret(self, ring: ServerKeyRing) -> bytes:
        """Raises BoxError."""
        assert self.box is not None
        return ring.decrypt(self.box, binding(self.firm_id, self.person_id, self.kind))


def binding(firm_id: int, person_id: int, kind: MethodKind) -> str:
    """What a factor's secret is bound to (AES-GCM associated data)."""
    return f"tallystick/factor|{firm_id}|{person_id}|{kind.value}"


def create(
    connection: Connection,
    ring: ServerKeyRing,
    *,
    firm_id: int,
    person_id: int,
    kind: MethodKind,
    label: str,
    facts: Mapping[str, Any],
    secret: bytes | None,
    now: float,
    position: int = 0,
    external_id: bytes | None = None,
) -> int:
    """Store a factor that is not confirmed yet; an older unconfirmed one of its kind goes.
    → its id"""
    stale = (Factor.person_id == person_id) & (Factor.kind == kind.value)
    connection.execute(delete(Factor).where(stale, Factor.confirmed_at.is_(None)))
    box = ring.encrypt(secret, binding(firm_id, person_id, kind)) if secret is not None else None
    made = connection.execute(
        insert(Factor).returning(Factor.id),
        {
            **numbers.unused(connection, Factor.id),
            "firm_id": firm_id,
            "person_id": person_id,
            "kind": kind.value,
            "label": label,
            "facts": json.dumps(dict(facts)),
            "secret_key_id": box.key_id if box else None,
            "secret_box": box.blob if box else None,
            "external_id": external_id,
            "position": position,
            "failures": 0,
            "lockout_s": 0,
            "blocked_until": 0,
            "created_at": int(now),
        },
    )
    return int(made.scalar_one())


def get(connection: Connection, person_id: int, factor_id: int, *, lock: bool = False) -> Enrolled:
    """One factor of a person. Raises ApiError (404)."""
    query = _query().where(Factor.person_id == person_id, Factor.id == factor_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise ApiError(
            404,
            "no-such-method",
            "This method is not enrolled.",
            kept=NOTHING_CHANGED,
            todo="Choose one of the methods listed.",
        )
    return enrolled(row)


def of_person(connection: Connection, person_id: int) -> list[Enrolled]:
    """The confirmed factors of a person, oldest first."""
    query = _query().where(Factor.person_id == person_id, Factor.confirmed_at.is_not(None))
    return [enrolled(row) for row in connection.execute(query.order_by(Factor.id))]


def is_known(connection: Connection, external_id: bytes) -> bool:
    """Whether a WebAuthn credential of this id is here, in whatever firm: ids are random, so that
    one in two places is a copy."""
    query = select(Factor.id).where(Factor.external_id == external_id)
    return connection.scalar(query) is not None


def owner_of(connection: Connection, external_id: bytes) -> tuple[int, int] | None:
    """→ whose factor it is, and its number"""
    query = select(Factor.person_id, Factor.id).where(
        Factor.external_id == external_id, Factor.confirmed_at.is_not(None)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.person_id, row.id)


def confirm(connection: Connection, person_id: int, factor_id: int, now: float) -> None:
    """The user has proved that it works."""
    people.note_enrolment(connection, person_id, now)
    connection.execute(update(Factor).where(Factor.id == factor_id).values(confirmed_at=int(now)))


def rename(connection: Connection, person_id: int, factor_id: int, label: str) -> None:
    """Raises ApiError (404)."""
    get(connection, person_id, factor_id, lock=True)
    connection.execute(update(Factor).where(Factor.id == factor_id).values(label=label))


def remove(connection: Connection, person_id: int, factor_id: int) -> Enrolled:
    """Raises ApiError (404). → what it was"""
    gone = get(connection, person_id, factor_id, lock=True)
    connection.execute(delete(Factor).where(Factor.id == factor_id))
    return gone


def move(
    connection: Connection,
    factor: Enrolled,
    *,
    position: int,
    throttle: Throttle,
    used_at: int | None,
    facts: Mapping[str, Any] | None = None,
) -> Enrolled:
    """Compare and set; facts: None keeps them. → the factor as it is now. Raises StaleError when it
    is no longer as it was judged."""
    moved = connection.execute(
        update(Factor)
        .where(
            Factor.id == factor.id,
            Factor.position == factor.position,
            Factor.failures == factor.throttle.failures,
            Factor.blocked_until == factor.throttle.blocked_until,
        )
        .values(
            position=position,
            failures=throttle.failures,
            lockout_s=throttle.lockout_s,
            blocked_until=throttle.blocked_until,
            last_used_at=used_at,
            **({} if facts is None else {"facts": json.dumps(dict(facts))}),
        )
    )
    if moved.rowcount != 1:
        raise StaleError
    return replace(factor, position=position, throttle=throttle, last_used_at=used_at)


def any_locked(connection: Connection, person_id: int, now: int) -> bool:
    query = select(Factor.id).where(Factor.person_id == person_id, Factor.blocked_until > now)
    return connection.scalar(query.limit(1)) is not None


def unlock(connection: Connection, person_id: int) -> None:
    """Lift the lock-outs of a person's factors: the next guess is evaluated at once."""
    connection.execute(
        update(Factor)
        .where(Factor.person_id == person_id)
        .values(failures=0, lockout_s=0, blocked_until=0)
    )


def _query() -> Any:
    return select(*Factor.__table__.columns)


def enrolled(row: AnyRow) -> Enrolled:
    """A row with all columns of the table."""
    return Enrolled(
        id=row.id,
        firm_id=row.firm_id,
        person_id=row.person_id,
        kind=MethodKind(row.kind),
        label=row.label,
        facts=json.loads(row.facts),
        position=row.position,
        throttle=Throttle(row.failures, row.lockout_s, row.blocked_until),
        created_at=row.created_at,
        confirmed_at=row.confirmed_at,
        last_used_at=row.last_used_at,
        box=Box(row.secret_key_id, row.secret_box) if row.secret_box is not None else None,
        external_id=row.external_id,
    )
