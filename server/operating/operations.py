"""Backup, restore and key rotation: what an operator does to a running server's data."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import ColumnClause, Connection, func, select, update

from tallystick.common.errors import BadInputError, RefusedError, TallyError
from tallystick.server.accounts import factors
from tallystick.server.accounts.credentials import psk_binding
from tallystick.server.accounts.policy import MethodKind
from tallystick.server.messages.outbox import message_binding
from tallystick.server.operating.brought_back import report
from tallystick.server.operating.later_copy import Ask, UnreadableError, later_copy
from tallystick.server.stock.cards import seed_binding
from tallystick.server.store import keys, restored, schema, signing_keys
from tallystick.server.store.audit import Act, record
from tallystick.server.store.database import AnyRow, Database
from tallystick.server.store.declared import Base
from tallystick.server.store.keys import Box, ServerKeyRing
from tallystick.server.store.models import CardRow, CredentialRow
from tallystick.server.store.models_login import Factor, MessageRow, SigningKeyRow
from tallystick.server.store.probe import must_take_writes
from tallystick.server.store.synced import sync

BATCH = 500
BY_TIME = re.compile(r"tallystick-\d{8}T\d{6}Z\.(db|dump)")
MAX_STEPS_AROUND = 5  # the most that a policy allows
APP_STEP_S = 30
SQLITE_MAGIC = b"SQLite format 3\0"


def backup(database: Database, target: Path) -> None:
    """Copy the database while the server runs: a consistent state, synced to the disk.

    The key file is not part of it; without it the copy is useless to a thief, and to you.
    Raises BadInputError when the target exists, TallyError when a tool fails.
    """
    if target.exists():
        raise BadInputError(
            f"{target} exists already.", kept="It was not changed.", todo="Name a new file."
        )
    with _copying(target), _draft(target) as draft:
        if database.is_sqlite:
            assert database.url.database
            with (
                closing(sqlite3.connect(database.url.database)) as source,
                closing(sqlite3.connect(draft)) as copy,
            ):
                # In one piece: between two, a write of the server's would have it begin anew, and
                # on a busy server it would never end. Writers do not wait for it.
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")
        else:
            _run_tool(database, "pg_dump", "--format=custom", f"--file={draft}", "--dbname={}")


def backup_by_time(database: Database, folder: Path, keep: int, now: float) -> Path:
    """A copy that is named by its time, and then only the newest `keep` of such copies. Others'
    files stay. → the copy. Raises BadInputError, TallyError."""
    if not folder.is_dir():
        raise BadInputError(
            f"{folder} is not a folder.", kept="Nothing was copied.", todo="Make it first."
        )
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = folder / f"tallystick-{moment}{'.db' if database.is_sqlite else '.dump'}"
    backup(database, target)
    copies = sorted(one for one in folder.iterdir() if BY_TIME.fullmatch(one.name))
    for old in copies[:-keep]:
        if old != target:
            old.unlink()
    return target


def restore(
    database: Database,
    source: Path,
    *,
    ring: ServerKeyRing,
    advance: int,
    newer: Path | str | None,
    now: float,
) -> dict[str, int]:
    """Put a backup in the place of an empty database, move every counter on, and end what was
    under way. Nothing is served before `store.restored.confirm`.

    Codes that were used after the backup must not work again. `newer` is a later copy of the same
    database, damaged elsewhere perhaps (`later_copy`): counters are taken from it where they are
    higher. All others move by `advance`; a card that was used less needs as many more presses.
    → how many cards there are, and how many counters came from `newer`.
    Raises BadInputError, RefusedError.
    """
    _must_be_empty(database)
    with later_copy(newer) if newer is not None else nullcontext() as later:
        _put_back(database, source)
        schema.ensure(database, ring)
        dialect = "postgresql" if str(newer).startswith("postgresql") else "sqlite"
        return _take_over(database, ring, source, advance, later, dialect, now)


def _put_back(database: Database, source: Path) -> None:
    if not database.is_sqlite:
        _run_tool(database, "pg_restore", "--no-owner", "--dbname={}", str(source))
        return
    with source.open("rb") as file:
        begin = file.read(len(SQLITE_MAGIC))
    if begin != SQLITE_MAGIC:
        raise BadInputError(f"{source} is not an SQLite database.", kept="Nothing was changed.")
    assert database.url.database
    with (
        _copying(Path(database.url.database)),
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as copy,
        closing(sqlite3.connect(database.url.database)) as target,
    ):
        copy.backup(target)


def _take_over(
    database: Database,
    ring: ServerKeyRing,
    source: Path,
    advance: int,
    later: Ask | None,
    dialect: str,
    now: float,
) -> dict[str, int]:
    counters = _counters_of(later) if later is not None else {}
    merged = 0
    with database.write() as connection:
        rows = connection.execute(
            select(
                CardRow.id,
                CardRow.firm_id,
                CardRow.serial,
                CardRow.seed_fingerprint,
                CardRow.moving_factor,
                CardRow.step_s,
                CardRow.drift,
            )
        ).all()
        for row in rows:
            # A copy of an older version may have another fingerprint of the same key.
            known = counters.get(row.seed_fingerprint, counters.get((row.firm_id, row.serial)))
            merged += known is not None
            factor = _moved_on(row, advance, now) if known is None else known
            connection.execute(
                update(CardRow)
                .where(CardRow.id == row.id)
                .values(moving_factor=max(row.moving_factor, factor))
            )
        done = {"cards": len(rows), "counters_from_newer": merged}
        # Of an app, too: a code of the last steps may have been used.
        steps = int(now) // APP_STEP_S + MAX_STEPS_AROUND
        apps = (Factor.kind == MethodKind.TOTP.value) & (Factor.position < steps)
        connection.execute(update(Factor).where(apps).values(position=steps))
        facts = {"source": source.name, "at": int(now), "advance": advance}
        restored.note(connection, report(connection, later, dialect, **facts, **done), now)
        act = Act(int(now * 1000), None, "console", "restored", source.name, {"advance": advance})
        record(connection, ring, [act])
    return done


def _moved_on(row: AnyRow, advance: int, now: float) -> int:
    """Past every code that may have been used: of a time-based card, those up to now."""
    if row.step_s:
        return int(now) // int(row.step_s) + int(row.drift) + MAX_STEPS_AROUND + 1
    return int(row.moving_factor) + advance


def _must_be_empty(database: Database) -> None:
    with database.read() as connection:
        if schema.revision(connection) is not None:
            raise RefusedError(
                "The database to restore into is not empty.",
                kept="It was not changed.",
                todo="Stop the server, move the database away, and name a new one with --db.",
            )


def _counters_of(later: Ask) -> dict[bytes | tuple[int, str], int]:
    """Seed fingerprint, and firm and serial number → moving factor, of live and deleted cards."""
    counters: dict[bytes | tuple[int, str], int] = {}
    try:
        for table in ("tombstone", "card"):
            query = f"SELECT seed_fingerprint, firm_id, serial, moving_factor FROM {table}"  # noqa: S608
            for fingerprint, firm_id, serial, factor in later(query):
                counters[bytes(fingerprint)] = counters[firm_id, serial] = int(factor)
        return counters
    except UnreadableError as error:
        raise BadInputError(
            f"Counters cannot be read from the later copy: {error}.",
            kept="The backup is restored; its counters have not been moved on.",
            todo="Remove the new database, and restore again without --counters-from.",
        ) from None


@dataclass(frozen=True)
class EncryptedColumn:
    """A place where values lie under the server's keys. binding: of a row's value."""

    name: str
    table: type[Base]
    key_id: ColumnClause[str] | ColumnClause[str | None]
    box: ColumnClause[bytes] | ColumnClause[bytes | None]
    row_id: ColumnClause[int] | ColumnClause[str]
    parts: tuple[ColumnClause[int] | ColumnClause[str], ...]

    def binding(self, row: AnyRow) -> str:
        values = row[3:]
        if self.name == "seeds":
            return seed_binding(*values)
        if self.name == "stations' keys":
            return psk_binding(*values)
        if self.name == "factors":
            firm_id, person_id, kind = values
            return factors.binding(firm_id, person_id, MethodKind(kind))
        if self.name == "messages":
            return message_binding(*values)
        return signing_keys.binding(*values)


ENCRYPTED = (
    EncryptedColumn(
        "seeds",
        CardRow,
        CardRow.seed_key_id,
        CardRow.seed_box,
        CardRow.id,
        (CardRow.firm_id, CardRow.serial),
    ),
    EncryptedColumn(
        "stations' keys",
        CredentialRow,
        CredentialRow.psk_key_id,
        CredentialRow.psk_box,
        CredentialRow.id,
        (CredentialRow.id,),
    ),
    EncryptedColumn(
        "factors",
        Factor,
        Factor.secret_key_id,
        Factor.secret_box,
        Factor.id,
        (Factor.firm_id, Factor.person_id, Factor.kind),
    ),
    EncryptedColumn(
        "messages",
        MessageRow,
        MessageRow.body_key_id,
        MessageRow.body_box,
        MessageRow.id,
        (MessageRow.firm_id, MessageRow.channel),
    ),
    EncryptedColumn(
        "signing keys",
        SigningKeyRow,
        SigningKeyRow.key_id,
        SigningKeyRow.key_box,
        SigningKeyRow.id,
        (SigningKeyRow.id,),
    ),
)


def use_of_keys(connection: Connection) -> dict[str, int]:
    """Key id → how many values are under it."""
    counts: dict[str, int] = {}
    for column in ENCRYPTED:
        rows = connection.execute(
            select(column.key_id, func.count())
            .where(column.key_id.is_not(None))
            .group_by(column.key_id)
        )
        for key_id, count in rows:
            counts[str(key_id)] = counts.get(str(key_id), 0) + count
    return counts


def rotate(database: Database, key_file: Path, *, now: float) -> tuple[str, int]:
    """Make a new encryption key and move every value under it, a few at a time, while the server
    runs: its workers read the key file again when they meet the new key. Safe to interrupt and to
    run again. → the new key's id and how many values moved."""
    must_take_writes(database)  # no key is made that nothing would be under
    key_id = keys.add_encryption_key(key_file)
    ring = keys.load(key_file)
    moved = sum(_reencrypt(database, ring, column) for column in ENCRYPTED)
    with database.write() as connection:
        act = Act(int(now * 1000), None, "console", "keys-rotated", key_id, {"values": moved})
        record(connection, ring, [act])
    return key_id, moved


def finish_rotation(database: Database, key_file: Path) -> int:
    """Move what is still under an older key, as after an interrupted rotation. → how many"""
    ring = keys.load(key_file)
    return sum(_reencrypt(database, ring, column) for column in ENCRYPTED)


def retire_key(database: Database, key_file: Path, key_id: str, *, now: float) -> None:
    """Forget an old key. Raises RefusedError while anything is under it."""
    with database.write() as connection:
        count = use_of_keys(connection).get(key_id, 0)
        if count:
            raise RefusedError(
                f"{count} values are still encrypted under {key_id}.",
                kept="The key stays.",
                todo="Run 'tally server keys rotate' first.",
            )
        ring = keys.load(key_file)
        act = Act(int(now * 1000), None, "console", "key-retired", key_id)
        record(connection, ring, [act])
        keys.remove_encryption_key(key_file, key_id)


def _reencrypt(database: Database, ring: ServerKeyRing, column: EncryptedColumn) -> int:
    moved = 0
    while True:
        with database.write() as connection:
            rows = connection.execute(
                select(column.row_id, column.key_id, column.box, *column.parts)
                .where(column.key_id.is_not(None), column.key_id != ring.active)
                .limit(BATCH)
            ).all()
            for row in rows:
                binding = column.binding(row)
                old = Box(str(row[1]), bytes(row[2] or b""))
                box = ring.encrypt(ring.decrypt(old, binding), binding)
                connection.execute(
                    update(column.table)
                    .where(column.row_id == row[0], column.box == row[2])
                    .values({column.key_id.key: box.key_id, column.box.key: box.blob})
                )
            moved += len(rows)
        if len(rows) < BATCH:
            return moved


@contextmanager
def _copying(target: Path) -> Iterator[None]:
    """What a disk does to it, in words. Raises TallyError."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise TallyError(
            f"The database cannot be copied to {target}: {what}.",
            kept="No copy was made. Older ones stay.",
            todo="See whether there is room on that disk, and whether the server's user may write "
            "there; the log of the machine's kernel says more.",
        ) from None


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A private file beside the target that takes its name when it is whole."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        yield draft
        sync(draft)
        draft.replace(target)
        sync(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _run_tool(database: Database, name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's tools. {} in an argument becomes the connection string (which may
    name several hosts); the password goes by the environment, for everybody may read arguments."""
    from psycopg.conninfo import make_conninfo

    path = shutil.which(name)
    if path is None:
        raise TallyError(
            f"{name} is not installed.", kept="Nothing was changed.", todo="Install it."
        )
    _, where = database.engine.dialect.create_connect_args(database.url)
    where.pop("context", None)
    secret = {"PGPASSWORD": str(where.pop("password"))} if "password" in where else {}
    words = [word.replace("{}", make_conninfo(**where)) for word in arguments]
    done = subprocess.run(
        [path, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **secret},
        encoding="utf-8",
    )
    if done.returncode:
        raise TallyError(
            f"{name} failed: {done.stderr.strip().splitlines()[-1:]}.", kept="See its message."
        )
