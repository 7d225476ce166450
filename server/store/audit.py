"""The audit log: who did what to which thing, when. Append-only, hash-chained.

Each entry's MAC (HMAC-SHA-256 under a key that is not in the database) covers the entry and the
MAC before it, so that an entry that is changed, inserted or taken out breaks the chain. The chain
`main` takes the rare acts and is serialised by its head row. Each worker has a chain of its own
for verifications, so that workers do not wait for one another; its opening is an entry of `main`.
So has each large import.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)

from tallystick.common import chance
from tallystick.server.store.bulk import GatheredRows
from tallystick.server.store.database import WRITTEN, WRITTEN_CHAINS, AnyRow, StaleError
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import NO_VERIFICATION, AuditCheckpoint, AuditEntry, AuditHead
from tallystick.server.store.origin import Origin, current

MAIN = "main"
OWN = "i-"  # what chains of large acts begin with
COLUMNS = ("chain", "number", "at_ms", "firm_id", "actor", "action", "subject", "detail", "mac")
GOES_ON, CLOSED = ("chain-opened", "chain-goes-on"), "chain-closed"  # about workers' chains
START = bytes(32)
DETAIL_SIZE = 1000  # characters, of the column
BROWSER_SIZE = 160


# Built once: they are on the fast path.
_APPEND = insert(AuditEntry.__table__)
_MOVE_HEAD = (
    update(AuditHead)
    .where(AuditHead.chain == bindparam("of"), AuditHead.number == bindparam("seen"))
    .values(number=bindparam("new_number"), mac=bindparam("new_mac"))
)


@dataclass(frozen=True)
class Act:
    """A sensitive act. detail: short public facts, never a secret or a code. origin: of the request
    that is being answered, unless said otherwise."""

    at_ms: int
    firm_id: int | None
    actor: str
    action: str
    subject: str
    detail: Mapping[str, str | int] | None = None
    origin: Origin = field(default_factory=current)


@dataclass(frozen=True)
class Head:
    """The last entry of a chain."""

    number: int
    mac: bytes


@dataclass(frozen=True)
class ChainEnd:
    """Of which chain, and where. Only the transaction that wrote it makes it so."""

    chain: str
    head: Head

    def is_there(self, connection: Connection) -> bool:
        """Whether that transaction was committed, though nobody said so."""
        row = connection.execute(
            select(AuditHead.number, AuditHead.mac).where(AuditHead.chain == self.chain)
        ).one_or_none()
        return row is not None and Head(row.number, row.mac) == self.head


class ChainGoneError(StaleError):
    """The chain is not where its writer left it: it was pruned away, for nothing was written to it
    for so long. `WorkerChain.reopen` goes on in a new one."""


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

    def under_way(self) -> ChainEnd | None:
        """Where the transaction that is being committed takes the chain; None: nowhere."""
        return None if self._pending is None else ChainEnd(self.name, self._pending)

    def reopen(self) -> None:
        """Go on in a new chain: after a lost connection nobody knows where the old one ends."""
        self.name = f"w-{chance.token_hex(8)}"
        self._head = self._pending = None


class OwnChain:
    """The chain of one large act, such as an import. Its entries are linked before the transaction
    that writes them, which so is shorter; what opens it in the main chain is written with them.
    act: what every entry says, but for its subject, and for its detail where that is given."""

    def __init__(self, ring: ServerKeyRing, act: Act) -> None:
        self.name = f"{OWN}{chance.token_hex(8)}"
        self._ring = ring
        self._act = act
        self._detail = _text(act.detail, act.origin)
        self._head = Head(0, START)

    def link(
        self, subject: str, detail: Mapping[str, str | int] | None = None
    ) -> tuple[int, bytes]:
        """A further entry. → its number and its link"""
        number = self._head.number + 1
        words = json.dumps(self.row(number, subject, detail), separators=(",", ":")).encode()
        self._head = Head(number, self._ring.audit_mac(self._head.mac, words))
        return number, self._head.mac

    def row(
        self, number: int, subject: str, detail: Mapping[str, str | int] | None = None
    ) -> tuple[Any, ...]:
        """The values of COLUMNS, without the link."""
        act = self._act
        said = self._detail if detail is None else _text(detail, act.origin)
        return (
            self.name, number, act.at_ms, act.firm_id, act.actor, act.action, subject, said,
        )  # fmt: skip

    @staticmethod
    def gathered(rows: Iterable[Sequence[Any]]) -> GatheredRows:
        """All that was linked, for `write`. rows: values of COLUMNS."""
        return GatheredRows(AuditEntry.__table__, COLUMNS, rows)

    def write(self, connection: Connection, entries: GatheredRows) -> None:
        """In the caller's transaction."""
        entries.insert(connection)
        act, head = self._act, self._head
        connection.execute(
            insert(AuditHead), {"chain": self.name, "number": head.number, "mac": head.mac}
        )
        record(connection, self._ring, [Act(act.at_ms, None, "server", "chain-opened", self.name)])
        connection.info.setdefault(WRITTEN_CHAINS, []).append(self.name)


def acts_of(
    connection: Connection, firm_id: int, since_ms: int, actions: Iterable[str]
) -> Iterator[AnyRow]:
    """What was done in a firm since then, of these acts, the oldest first. Each act is looked up by
    itself: all at once would be sought among all checks since."""
    of_each = union_all(
        *(
            select(
                AuditEntry.at_ms,
                AuditEntry.number,
                AuditEntry.actor,
                AuditEntry.action,
                AuditEntry.subject,
                AuditEntry.detail,
            ).where(
                NO_VERIFICATION,
                AuditEntry.firm_id == firm_id,
                AuditEntry.action == action,
                AuditEntry.at_ms >= since_ms,
            )
            for action in actions
        )
    )
    in_time = of_each.order_by("at_ms", "number").execution_options(yield_per=1000)
    yield from connection.execute(in_time)


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
        detail = _text(act.detail, act.origin)
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
    if moved.rowcount != 1:
        raise ChainGoneError
    connection.info.setdefault(WRITTEN, []).extend(rows)
    return Head(number, mac)


def _text(detail: Mapping[str, str | int] | None, origin: Origin) -> str:
    facts = dict(detail or {})
    if origin.address:
        facts["from"] = origin.address
    text = _json(facts) if facts else ""
    if origin.browser:
        # What a browser calls itself is the first thing to go where there is too little room.
        room = DETAIL_SIZE - len(text) - len(_json({"browser": ""})) - 8
        longer = _json(facts | {"browser": origin.browser[: max(0, min(room, BROWSER_SIZE))]})
        text = longer if len(longer) <= DETAIL_SIZE else text
    return text


def _json(facts: Mapping[str, str | int]) -> str:
    # A login name of 255 characters fits the column, whatever its script.
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False)


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
    starts = _checkpoints(connection)
    # Also entries of chains that nobody opened: whoever can insert rows made them.
    written = connection.scalars(select(AuditEntry.chain).distinct())
    chains = {MAIN, *heads, *_named(connection, *GOES_ON), *written, *noted, *starts}
    chains -= _named(connection, CLOSED) - heads.keys()
    return [
        _check_chain(connection, ring, chain, heads[chain], noted.get(chain), starts.get(chain))
        if chain in heads
        else ChainReport(chain, 0, "", 1)
        for chain in sorted(chains)
    ]


def _check_chain(
    connection: Connection,
    ring: ServerKeyRing,
    chain: str,
    head: Head,
    noted: Head | None,
    start: PrunedTo | None,
) -> ChainReport:
    mac, number = START, 0
    if start is not None:
        mac, number = start.mac, start.number
        known = noted is None or noted.number != number or noted.mac == mac
        if not hmac.compare_digest(start.seal, _seal(ring, chain, start)) or not known:
            return ChainReport(chain, number, mac.hex(), number)
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


@dataclass(frozen=True)
class PrunedTo:
    """Where a pruned chain begins: after the entry `number`, whose link is `mac`. at: when it was
    pruned, seconds since 1970."""

    number: int
    mac: bytes
    at: int
    seal: bytes = b""


def prune(
    connection: Connection, ring: ServerKeyRing, *, before_ms: int, now: float, actor: str
) -> int:
    """Delete the entries from before a time, of every chain from its start as far as they reach,
    and keep a checkpoint that only this server can make. A worker's chain of which nothing is left
    goes as a whole. What was done is in the log itself. → how many entries are gone"""
    gone, acts, at_ms = 0, [], int(now * 1000)
    starts = _checkpoints(connection)
    heads = {
        row.chain: row.number
        for row in connection.execute(select(AuditHead.chain, AuditHead.number))
    }
    opened: set[str] | None = None
    for chain in sorted(heads, key=lambda chain: chain != MAIN):
        first_kept = connection.scalar(
            select(func.min(AuditEntry.number)).where(
                AuditEntry.chain == chain, AuditEntry.at_ms >= before_ms
            )
        )
        last_gone = (first_kept or heads[chain] + 1) - 1
        start = starts[chain].number if chain in starts else 0
        if last_gone > start:
            _cut(connection, ring, chain, last_gone, int(now))
            gone += last_gone - start
        if chain != MAIN and opened is None:
            opened = _named(connection, *GOES_ON)  # once: `main` is pruned already
        if opened is not None and chain not in opened:
            # Its opening went before it: that it is there, or is not any more, has to be said anew.
            if first_kept is None:
                _close(connection, chain)
            act = GOES_ON[1] if first_kept is not None else CLOSED
            acts.append(Act(at_ms, None, "server", act, chain))
    if gone:
        detail: dict[str, str | int] = {"entries": gone, "before": _iso(before_ms)}
        acts.append(Act(at_ms, None, actor, "log-pruned", "audit", detail))
    if acts:
        record(connection, ring, acts)
    return gone


def _named(connection: Connection, *actions: str) -> set[str]:
    """The chains that such entries of the main chain are about."""
    query = select(AuditEntry.subject).where(
        AuditEntry.chain == MAIN, AuditEntry.action.in_(actions)
    )
    return set(connection.scalars(query))


def _close(connection: Connection, chain: str) -> None:
    """Nothing of it is left: neither is its end."""
    connection.execute(delete(AuditCheckpoint).where(AuditCheckpoint.chain == chain))
    connection.execute(delete(AuditHead).where(AuditHead.chain == chain))


def _cut(connection: Connection, ring: ServerKeyRing, chain: str, number: int, at: int) -> None:
    mac = connection.execute(
        select(AuditEntry.mac).where(AuditEntry.chain == chain, AuditEntry.number == number)
    ).scalar_one()
    point = PrunedTo(number, mac, at)
    connection.execute(delete(AuditCheckpoint).where(AuditCheckpoint.chain == chain))
    connection.execute(
        insert(AuditCheckpoint),
        {
            "chain": chain,
            "number": number,
            "mac": mac,
            "at": at,
            "seal": _seal(ring, chain, point),
        },
    )
    connection.execute(
        delete(AuditEntry).where(AuditEntry.chain == chain, AuditEntry.number <= number)
    )


def _checkpoints(connection: Connection) -> dict[str, PrunedTo]:
    columns = [column for column in AuditCheckpoint.__table__.columns if column.name != "chain"]
    rows = connection.execute(select(AuditCheckpoint.chain, *columns))
    return {row.chain: PrunedTo(row.number, row.mac, row.at, row.seal) for row in rows}


def _seal(ring: ServerKeyRing, chain: str, point: PrunedTo) -> bytes:
    words = json.dumps([chain, point.number, point.at], separators=(",", ":")).encode()
    return ring.audit_mac(b"checkpoint", point.mac + words)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
