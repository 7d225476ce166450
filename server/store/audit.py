"""The audit log: who did what to which thing, when. Append-only, hash-chained.

Each entry's MAC (HMAC-SHA-256 under a key that is not in the database) covers the entry and the
MAC before it, so that an entry that is changed, inserted or taken out breaks the chain. The chain
`main` takes the rare acts and is serialised by its head row. Each worker has a chain of its own
for verifications, so that workers do not wait for one another; its opening is an entry of `main`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import AuditEntry, AuditHead

MAIN = "main"
START = bytes(32)


# Built once: they are on the fast path.
_APPEND = insert(AuditEntry.__table__)  # type: ignore[arg-type]
_MOVE_HEAD = (
    update(AuditHead)
    .where(AuditHead.chain == bindparam("of"), AuditHead.number == bindparam("seen"))
    .values(number=bindparam("new_number"), mac=bindparam("new_mac"))
)


@dataclass(frozen=True)
class Act:
    """A sensitive act. detail: short public facts, never a secret or a code."""

    at_ms: int
    firm_id: int | None
    actor: str
    action: str
    subject: str
    detail: Mapping[str, str | int] | None = None


@dataclass(frozen=True)
class Head:
    """The last entry of a chain."""

    number: int
    mac: bytes


class WorkerChain:
    """The chain of one process. Not shared between threads. `commit()` after the database has."""

    def __init__(self, ring: ServerKeyRing) -> None:
        self._ring = ring
        self.name = ""
        self._head: Head | None = None
        self._pending: Head | None = None
        self.reopen()

    def append(self, connection: Connection, acts: Sequence[Act], at_ms: int) -> None:
        """Write the entries in the caller's transaction."""
        if not acts:
            return
        head = self._head
        if head is None:
            record(connection, self._ring, [Act(at_ms, None, "server", "chain-opened", self.name)])
            head = Head(0, START)
            connection.execute(insert(AuditHead), {"chain": self.name, "number": 0, "mac": START})
        self._pending = _write(connection, self._ring, self.name, head, acts)

    def commit(self) -> None:
        """The transaction is committed: what was appended is now the end of the chain."""
        if self._pending is not None:
            self._head, self._pending = self._pending, None

    def rollback(self) -> None:
        """The transaction was rolled back."""
        self._pending = None

    def reopen(self) -> None:
        """Go on in a new chain: after a lost connection nobody knows where the old one ends."""
        self.name = f"w-{secrets.token_hex(8)}"
        self._head = self._pending = None


def record(connection: Connection, ring: ServerKeyRing, acts: Iterable[Act]) -> None:
    """Append to the main chain, in the caller's transaction."""
    row = connection.execute(
        select(AuditHead.number, AuditHead.mac).where(AuditHead.chain == MAIN).with_for_update()
    ).one()
    _write(connection, ring, MAIN, Head(row.number, row.mac), list(acts))


def _write(
    connection: Connection, ring: ServerKeyRing, chain: str, head: Head, acts: Sequence[Act]
) -> Head:
    rows: list[dict[str, object]] = []
    number, mac = head.number, head.mac
    for act in acts:
        number += 1
        detail = _text(act.detail)
        row: dict[str, object] = {
            "chain": chain,
            "number": number,
            "at_ms": act.at_ms,
            "firm_id": act.firm_id,
            "actor": act.actor,
            "action": act.action,
            "subject": act.subject,
            "detail": detail,
        }
        mac = ring.audit_mac(mac, _canonical(row))
        row["mac"] = mac
        rows.append(row)
    connection.execute(_APPEND, rows)
    moved = connection.execute(
        _MOVE_HEAD,
        {"of": chain, "seen": head.number, "new_number": number, "new_mac": mac},
    )
    assert moved.rowcount == 1, "an audit chain has one writer at a time"
    return Head(number, mac)


def _text(detail: Mapping[str, str | int] | None) -> str:
    # A login name of 255 characters fits the column, whatever its script.
    return json.dumps(dict(detail), separators=(",", ":"), ensure_ascii=False) if detail else ""


def _canonical(row: Mapping[str, object]) -> bytes:
    return json.dumps(list(row.values()), separators=(",", ":")).encode()


@dataclass(frozen=True)
class ChainReport:
    """The outcome of checking one chain. mac: of its last entry, in hex: with `entries` it is what
    to note elsewhere. broken_at: number of the first bad entry, or None."""

    chain: str
    entries: int
    mac: str
    broken_at: int | None


def check(
    connection: Connection, ring: ServerKeyRing, noted: Mapping[str, Head] | None = None
) -> list[ChainReport]:
    """Recompute every chain from its start and compare it with its head.

    noted: heads of before, kept elsewhere. A chain must still go through them: whoever writes the
    database can cut its end off and set the head back to what is left.
    `connection`: of `Database.snapshot`, where workers go on writing meanwhile.
    """
    noted = noted or {}
    heads = {
        row.chain: Head(row.number, row.mac)
        for row in connection.execute(select(AuditHead.chain, AuditHead.number, AuditHead.mac))
    }
    opened = connection.scalars(
        select(AuditEntry.subject).where(
            AuditEntry.chain == MAIN, AuditEntry.action == "chain-opened"
        )
    )
    # Also entries of chains that nobody opened: whoever can insert rows made them.
    written = connection.scalars(select(AuditEntry.chain).distinct())
    chains = {MAIN, *heads, *opened, *written, *noted}
    return [
        _check_chain(connection, ring, chain, heads[chain], noted.get(chain))
        if chain in heads
        else ChainReport(chain, 0, "", 1)
        for chain in sorted(chains)
    ]


def _check_chain(
    connection: Connection, ring: ServerKeyRing, chain: str, head: Head, noted: Head | None
) -> ChainReport:
    mac, number = START, 0
    columns = [column for column in AuditEntry.__table__.columns if column.name != "mac"]
    rows = connection.execute(
        select(*columns, AuditEntry.mac)
        .where(AuditEntry.chain == chain)
        .order_by(AuditEntry.number)
        .execution_options(yield_per=1000)
    )
    for row in rows:
        number += 1
        fields = dict(row._mapping)
        stored = fields.pop("mac")
        mac = ring.audit_mac(mac, _canonical(fields))
        rewritten = noted is not None and noted.number == number and noted.mac != mac
        if row.number != number or mac != stored or rewritten:
            return ChainReport(chain, number, mac.hex(), number)
    cut = noted is not None and noted.number > number
    broken = number + 1 if cut or (number, mac) != (head.number, head.mac) else None
    return ChainReport(chain, number, mac.hex(), broken)
