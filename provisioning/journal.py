"""The station's journal: which card is how far, durable before the next act on the card or the
server (SQLite, write-ahead log, synchronous=FULL). It holds seeds only inside encrypted
containers, which the key file opens."""

from __future__ import annotations

import getpass
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallystick.common import moments
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.formats import NewerStateError
from tallystick.provisioning import audit

_FIRST = """
CREATE TABLE cards (
    id INTEGER PRIMARY KEY,
    serial TEXT NOT NULL,
    batch TEXT NOT NULL,
    state TEXT NOT NULL,
    digits INTEGER,
    user TEXT,
    reseed INTEGER NOT NULL,
    server TEXT NOT NULL,
    container BLOB,
    seed BLOB,
    reason TEXT,
    began_at REAL NOT NULL,
    changed_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_open_run ON cards (serial)
    WHERE state NOT IN ('locked', 'labelled', 'failed');
CREATE INDEX cards_by_batch ON cards (batch, id);
"""


_SECOND = """
CREATE TABLE firm (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    contact TEXT NOT NULL,
    languages TEXT NOT NULL,
    time_zone TEXT NOT NULL
) STRICT;
CREATE TABLE boxed (
    serial TEXT PRIMARY KEY,
    box TEXT NOT NULL,
    scanned_at REAL NOT NULL
) STRICT;
"""

_CERTIFICATES = """
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    ticket TEXT NOT NULL,
    facts TEXT,
    jws TEXT,
    changed_at REAL NOT NULL
) STRICT;
"""

_VERSIONS = """
ALTER TABLE cards ADD COLUMN device TEXT NOT NULL DEFAULT 'card';
CREATE TABLE key_versions (
    serial TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    changed_at REAL NOT NULL
) STRICT;
CREATE TABLE rotations (
    version INTEGER PRIMARY KEY,
    until TEXT,
    began_at REAL NOT NULL
) STRICT;
"""


_SETTINGS = """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
"""


# What brings a journal from each version of its tables to the next; never changed, only added to.
_MIGRATIONS = (_FIRST + audit.SCHEMA, _SECOND, _CERTIFICATES, _VERSIONS, _SETTINGS)
SCHEMA_VERSION = len(_MIGRATIONS)


class CardState(StrEnum):
    """How far a card is: the last step that is known to be complete.

    A card in `keyed` with a container may have the seed already; one in `verified` may be
    registered already.
    """

    SEEN = "seen"
    AUTHENTIC = "authentic"
    KEYED = "keyed"
    SEEDED = "seeded"
    VERIFIED = "verified"
    REGISTERED = "registered"
    LOCKED = "locked"
    LABELLED = "labelled"
    FAILED = "failed"


CARD = "card"  # a device
FINISHED = (CardState.LOCKED, CardState.LABELLED)


@dataclass(frozen=True)
class CardRecord:
    """One run of one card. container: encrypted PSKC, seed: the same sealed for
    this station; both until the card is finished. device: a card, or what else goes by a number
    that was read off a label."""

    id: int
    serial: str
    batch: str
    state: CardState
    digits: int | None
    user: str | None
    reseed: bool
    server: str
    container: bytes | None
    seed: bytes | None
    reason: str | None
    changed_at: float
    device: str = CARD


@dataclass(frozen=True)
class CertificateRecord:
    """A card of a job. facts: what is to be certified of it, JSON, once it is known; jws: the
    certificate, once the server has signed it."""

    serial: str
    ticket: str
    facts: str | None
    jws: str | None


@dataclass(frozen=True)
class Rotation:
    """How far the firm's keys are on the cards in service. current: the version that cards shall
    have; None: none is known. cards: version → serial numbers; left: those of an older version;
    unknown: those of which none was noted. until: the day by which none shall be left."""

    current: int | None
    cards: dict[int, list[str]]
    unknown: list[str]
    until: str | None

    @property
    def left(self) -> list[str]:
        older = [one for version, one in self.cards.items() if version != self.current]
        return sorted(serial for serials in older for serial in serials)


@dataclass(frozen=True)
class BatchRecord:
    """A batch as the journal has it. finished: cards in service; open: stopped half-way."""

    name: str
    finished: int
    open: int
    changed_at: float


@dataclass(frozen=True)
class HeardFirm:
    """What a server last said of the firm. languages: the first is for what has room for one.
    zone: None until it was heard of: this computer's own is meant."""

    name: str = ""
    contact: str = ""
    languages: tuple[str, ...] = ("en",)
    zone: ZoneInfo | None = None


@dataclass(frozen=True)
class BoxedCard:
    """A card that came in a box: its label was scanned. state: of its last run; None: blank."""

    serial: str
    box: str
    scanned_at: float
    state: CardState | None

    @property
    def blank(self) -> bool:
        return self.state not in FINISHED


_COLUMNS = (
    "id, serial, batch, state, digits, user, reseed, server, container, seed, reason, changed_at,"
    " device"
)


class JournalWriteError(TallyError):
    """The disk did not take a step."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The station's journal cannot be written: {why}.",
            kept="Every step before is in it; nothing more was done to the card.",
            todo="Make room on the disk, or the file writable; then run `tally station resume`, "
            "with `--port` for the card in the dock.",
        )


class StationJournal:
    """Safe for several threads; one connection, one transaction a step."""

    def __init__(
        self, path: Path, *, who: str | None = None, now: Callable[[], float] = moments.now
    ) -> None:
        """who: whose acts these are, for the audit log; the operating system's user if None.

        Raises BadInputError, NewerStateError.
        """
        self._now = now
        self._who = who or getpass.getuser()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=10
            )
            self._prepare()
        except NewerStateError:
            self._database.close()
            raise
        except (OSError, sqlite3.Error) as error:
            raise BadInputError(
                f"The station's journal {path} cannot be used: {error}.",
                todo="Check the file's owner and the disk, or choose another with --journal.",
            ) from None

    def _prepare(self) -> None:
        run = self._database.execute
        self._refuse_newer()
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA secure_delete=ON")
        with self._transaction():
            version = self._refuse_newer()
            for migration in _MIGRATIONS[version:]:
                for statement in _statements(migration):
                    run(statement)
            if version < SCHEMA_VERSION:
                run(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _refuse_newer(self) -> int:
        """→ the version of the file's tables; 0: none yet"""
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise NewerStateError("The station's journal", version, SCHEMA_VERSION)
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                # Also where COMMIT itself failed, as on a full disk. SQLite may have ended it.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One transaction. Raises JournalWriteError when the disk does not take it."""
        try:
            with self._transaction():
                yield
        except sqlite3.OperationalError as error:
            raise JournalWriteError(str(error)) from None

    def open_run(self, serial: str) -> CardRecord | None:
        """The unfinished run of a card, if there is one."""
        return self._one("serial = ? AND state NOT IN ('locked', 'labelled', 'failed')", serial)

    def latest(self, serial: str) -> CardRecord | None:
        return self._one("serial = ?", serial)

    def unfinished(self) -> list[CardRecord]:
        """Every unfinished run, oldest first."""
        return self._many("state NOT IN ('locked', 'labelled', 'failed')")

    def latest_of_each(self) -> list[CardRecord]:
        """The last run of every card."""
        return self._many("id IN (SELECT max(id) FROM cards GROUP BY serial)")

    def runs(self) -> list[CardRecord]:
        """Every run of every card, oldest first."""
        return self._many("1")

    def runs_of(self, serial: str) -> list[CardRecord]:
        """Every run of a card, oldest first."""
        return self._many("serial = ?", serial)

    def batch(self, name: str) -> list[CardRecord]:
        return self._many("batch = ?", name)

    def finished(self, batch: str) -> list[CardRecord]:
        """The runs of a batch that came to their end: what its count is made of."""
        return [run for run in self.batch(batch) if run.state in FINISHED]

    def user_of(self, serial: str) -> str:
        """Whom a card was last made for; "" for nobody."""
        run = self.latest(serial)
        return (run.user or "") if run is not None else ""

    def search(self, text: str, limit: int) -> list[CardRecord]:
        """Runs whose serial number, batch, user or state has `text` in it, newest first."""
        part = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        condition = " OR ".join(
            f"{column} LIKE :part ESCAPE '\\'" for column in ("serial", "batch", "user", "state")
        )
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM cards WHERE {condition} ORDER BY id DESC LIMIT :limit",  # noqa: S608
                {"part": f"%{part}%", "limit": limit},
            ).fetchall()
        return [_record(row) for row in rows]

    def batches(self, limit: int) -> list[BatchRecord]:
        """The batches of this station, the latest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT batch, sum(state IN ('locked', 'labelled')),"
                " sum(state NOT IN ('locked', 'labelled', 'failed')), max(changed_at)"
                " FROM cards GROUP BY batch ORDER BY 4 DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [BatchRecord(*row) for row in rows]

    def firm(self) -> HeardFirm:
        """As a server last said."""
        with self._lock:
            row = self._database.execute(
                "SELECT name, contact, languages, time_zone FROM firm"
            ).fetchone()
        if row is None:
            return HeardFirm()
        try:
            zone = ZoneInfo(row[3])
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = None
        return HeardFirm(row[0], row[1], tuple(row[2].split()), zone)

    def keep_firm(self, name: str, contact: str, languages: Sequence[str], time_zone: str) -> None:
        """What a server says of the firm."""
        with self._step():
            self._database.execute(
                "INSERT OR REPLACE INTO firm VALUES (1, ?, ?, ?, ?)",
                (name, contact, " ".join(languages), time_zone),
            )

    def blank_minimum(self) -> int:
        """How many blank cards there are to be, as it was last set; 0: nobody has said."""
        with self._lock:
            row = self._database.execute(
                "SELECT value FROM settings WHERE name = 'blank minimum'"
            ).fetchone()
        return int(row[0]) if row is not None else 0

    def keep_blank_minimum(self, minimum: int) -> None:
        with self._step():
            self._database.execute(
                "INSERT OR REPLACE INTO settings VALUES ('blank minimum', ?)", (str(minimum),)
            )

    def put_into_box(self, box: str, serials: Sequence[str]) -> list[BoxedCard]:
        """Note cards whose labels were scanned. → those that are in another box already, or in
        this one: they stay where they were"""
        known = {card.serial: card for card in self.boxed()}
        fresh = [serial for serial in dict.fromkeys(serials) if serial not in known]
        now = self._now()
        with self._step():
            self._database.executemany(
                "INSERT INTO boxed VALUES (?, ?, ?)", [(serial, box, now) for serial in fresh]
            )
            if fresh:
                audit.append(
                    self._database, now, self._who, "box scanned", box, f"{len(fresh)} cards"
                )
        return [known[serial] for serial in serials if serial in known]

    def boxed(self, box: str | None = None) -> list[BoxedCard]:
        """Cards that came in a box, or in any, in the order in which they were scanned."""
        with self._lock:
            rows = self._database.execute(
                "SELECT b.serial, b.box, b.scanned_at, (SELECT c.state FROM cards c"
                " WHERE c.serial = b.serial ORDER BY c.id DESC LIMIT 1)"
                " FROM boxed b WHERE ?1 IS NULL OR b.box = ?1 ORDER BY b.scanned_at, b.rowid",
                (box,),
            ).fetchall()
        return [
            BoxedCard(serial, name, at, CardState(state) if state else None)
            for serial, name, at, state in rows
        ]

    def begin(
        self,
        serial: str,
        batch: str,
        server: str,
        user: str | None,
        *,
        reseed: bool = False,
        device: str = CARD,
    ) -> CardRecord:
        """Start a run in `authentic`. reseed: the card may be registered with an older seed."""
        now = self._now()
        with self._step():
            cursor = self._database.execute(
                "INSERT INTO cards"
                " (serial, batch, state, server, user, reseed, began_at, changed_at, device)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (serial, batch, CardState.AUTHENTIC, server, user, reseed, now, now, device),
            )
            row = cursor.lastrowid
            wanted = ", also in place of an older seed" if reseed else ""
            self._audit(f"{device} authentic", serial, f"batch {batch}{wanted}")
        assert row is not None
        return self._by_id(row)

    def advance(self, record: CardRecord, state: CardState) -> CardRecord:
        return self._update(record, f"card {state}", "state = ?", state)

    def keep_seed(
        self, record: CardRecord, container: bytes, seed: bytes, digits: int
    ) -> CardRecord:
        """Keep the container and the sealed seed, before the seed goes to the card."""
        return self._update(
            record,
            "seed made",
            "state = ?, container = ?, seed = ?, digits = ?",
            CardState.KEYED,
            container,
            seed,
            digits,
        )

    def finish(self, record: CardRecord, state: CardState) -> CardRecord:
        """End a run that succeeded; its container is overwritten."""
        return self._update(
            record,
            f"card {state}",
            "state = ?, container = NULL, seed = NULL, reason = NULL",
            state,
        )

    def keep_facts(self, serial: str, ticket: str, facts: str | None = None) -> None:
        """A card is made on a ticket. facts: to be certified of it, before it is in service."""
        with self._step():
            self._database.execute(
                "INSERT OR REPLACE INTO certificates VALUES (?, ?, ?, NULL, ?)",
                (serial, ticket, facts, self._now()),
            )

    def keep_certificate(self, serial: str, jws: str) -> None:
        with self._step():
            self._database.execute(
                "UPDATE certificates SET jws = ?, changed_at = ? WHERE serial = ?",
                (jws, self._now(), serial),
            )
            self._audit("card certified", serial)

    def certificates(self, ticket: str) -> list[CertificateRecord]:
        """Of the cards that were begun on the ticket, by serial number."""
        return self._certificates("ticket = ?", ticket)

    def certificate(self, serial: str) -> CertificateRecord | None:
        found = self._certificates("serial = ?", serial)
        return found[0] if found else None

    def _certificates(self, condition: str, value: str) -> list[CertificateRecord]:
        with self._lock:
            rows = self._database.execute(
                f"SELECT serial, ticket, facts, jws FROM certificates WHERE {condition}"  # noqa: S608
                " ORDER BY serial",
                (value,),
            ).fetchall()
        return [CertificateRecord(*row) for row in rows]

    def note_key_version(self, serial: str, version: int) -> None:
        """The version of the firm's keys that a card has."""
        with self._step():
            self._database.execute(
                "INSERT OR REPLACE INTO key_versions VALUES (?, ?, ?)",
                (serial, version, self._now()),
            )

    def begin_rotation(self, version: int, until: str | None) -> None:
        """until: ISO day by which all cards shall have it."""
        with self._step():
            self._database.execute(
                "INSERT OR REPLACE INTO rotations VALUES (?, ?, ?)", (version, until, self._now())
            )

    def rotation(self) -> Rotation:
        """Of cards in service, as far as this station knows: without those that were retired or
        wiped here."""
        with self._lock:
            rows = self._database.execute(
                "SELECT c.serial, k.version, c.changed_at FROM cards c LEFT JOIN key_versions k"
                " ON k.serial = c.serial"
                " WHERE c.id IN (SELECT max(id) FROM cards GROUP BY serial)"
                " AND c.state IN ('locked', 'labelled') AND c.device = 'card'"
                " AND c.digits IS NOT NULL ORDER BY c.serial"
            ).fetchall()
            ends = self._database.execute(
                "SELECT subject, act, at FROM audit"
                " WHERE act IN ('card wiped', 'card retired', 'act undone') ORDER BY number"
            ).fetchall()
            begun = self._database.execute(
                "SELECT version, until FROM rotations ORDER BY version DESC"
            ).fetchone()
        last = {serial: (act, at) for serial, act, at in ends}
        there = [
            (serial, version)
            for serial, version, changed_at in rows
            if (end := last.get(serial)) is None or end[0] == "act undone" or end[1] < changed_at
        ]
        cards: dict[int, list[str]] = {}
        for serial, version in there:
            if version is not None:
                cards.setdefault(version, []).append(serial)
        current, until = begun or (max(cards, default=None), None)
        unknown = [serial for serial, version in there if version is None]
        return Rotation(current, dict(sorted(cards.items())), unknown, until)

    def fail(self, record: CardRecord, reason: str) -> CardRecord:
        """End a run that will not be continued; its container is overwritten."""
        return self._update(
            record,
            "card failed",
            "state = ?, container = NULL, seed = NULL, reason = ?",
            CardState.FAILED,
            reason,
        )

    def close(self) -> None:
        self._database.close()

    def note(self, act: str, subject: str, detail: str = "", *, by: str = "") -> None:
        """Put an act that is no step of a card into the audit log. by: whose credential acted."""
        who = f"{self._who} as {by}" if by else self._who
        with self._step():
            audit.append(self._database, self._now(), who, act, subject, detail)

    def audit_log(self) -> list[str]:
        """The audit log as JSON lines."""
        with self._lock:
            return list(audit.export(self._database))

    def _audit(self, act: str, subject: str, detail: str = "") -> None:
        audit.append(self._database, self._now(), self._who, act, subject, detail)

    def _update(
        self, record: CardRecord, act: str, assignments: str, *values: object
    ) -> CardRecord:
        with self._step():
            self._database.execute(
                f"UPDATE cards SET {assignments}, changed_at = ? WHERE id = ?",  # noqa: S608
                (*values, self._now(), record.id),
            )
            self._audit(act, record.serial)
        return self._by_id(record.id)

    def _by_id(self, row: int) -> CardRecord:
        record = self._one("id = ?", row)
        assert record is not None
        return record

    def _many(self, condition: str, *values: object) -> list[CardRecord]:
        with self._lock:
            rows = self._database.execute(
                f"SELECT {_COLUMNS} FROM cards WHERE {condition} ORDER BY id",  # noqa: S608
                values,
            ).fetchall()
        return [_record(row) for row in rows]

    def _one(self, condition: str, value: object) -> CardRecord | None:
        with self._lock:
            row = self._database.execute(
                f"SELECT {_COLUMNS} FROM cards WHERE {condition} ORDER BY id DESC",  # noqa: S608
                (value,),
            ).fetchone()
        return None if row is None else _record(row)


def _statements(script: str) -> Iterator[str]:
    """One statement at a time: sqlite3's executescript would commit in between."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _record(row: tuple[object, ...]) -> CardRecord:
    values = list(row)
    values[3] = CardState(str(values[3]))
    values[6] = bool(values[6])
    return CardRecord(*values)  # type: ignore[arg-type]
