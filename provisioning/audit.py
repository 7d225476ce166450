"""The station's audit log: a chain of SHA-256 hashes over every sensitive act.

An entry is written in the same transaction as the step that it tells of. Each entry's hash covers
its content and the hash before it, so a removed, changed or reordered line breaks the chain. The
hash of the last entry (the head) stands for the whole log: written down elsewhere, it also shows
when the end was cut off or everything was written anew.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
START = "0" * 64
_FIELDS = ("number", "at", "who", "act", "subject", "detail", "previous")


@dataclass(frozen=True)
class LogVerdict:
    """What the verifier found. problems: in words, with line numbers from 1."""

    entries: int
    head: str
    problems: tuple[str, ...]


def append(
    database: sqlite3.Connection, at: float, who: str, act: str, subject: str, detail: str = ""
) -> str:
    """Add an entry inside the caller's transaction; returns its hash, the new head. at: seconds
    since 1970."""
    row = database.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (row[0] + 1, row[1]) if row else (1, START)
    values = (number, at, who, act, subject, detail, previous)
    own = _hash(dict(zip(_FIELDS, values, strict=True)))
    database.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, own))
    return own


def export(database: sqlite3.Connection) -> Iterator[str]:
    """The log as JSON lines, oldest first."""
    for row in database.execute("SELECT * FROM audit ORDER BY number"):
        yield json.dumps(dict(zip((*_FIELDS, "hash"), row, strict=True)), ensure_ascii=False)


def verify(lines: Iterable[str], head: str | None = None) -> LogVerdict:
    """Check exported lines without the station. head: the last hash, as noted elsewhere."""
    problems: list[str] = []
    previous, count = START, 0
    for count, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            own, said = _hash({name: entry[name] for name in _FIELDS}), str(entry["hash"])
            number, before = entry["number"], entry["previous"]
        except (ValueError, KeyError, TypeError):
            problems.append(f"line {count} is no entry")
            continue
        if own != said:
            problems.append(f"line {count} was changed")
        if number != count:
            problems.append(f"line {count} has number {number}: lines are missing or reordered")
        if before != previous:
            problems.append(f"line {count} does not follow the line before it")
        previous = said
    if head is not None and head != previous:
        problems.append("the last line is not the one that was noted: the end is missing or new")
    return LogVerdict(count, previous, tuple(problems))


def _hash(entry: dict[str, object]) -> str:
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
