"""The book of a job: which board has which serial number, and who did what. A file of SQLite beside
the job, which every programmer of the station shares and which outlives a kill at any instant.

A number is a board's from before its first byte is written, and no other board ever gets it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.formats import NewerStateError
from tallystick.provisioning import audit

FORMAT = 2
_ORIGIN = "CREATE TABLE origin (what TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT"
_SCHEMA = f"""
PRAGMA user_version = {FORMAT};
CREATE TABLE job (name TEXT NOT NULL, fingerprint TEXT NOT NULL) STRICT;
CREATE TABLE number (serial TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT;
CREATE TABLE board (
    serial TEXT PRIMARY KEY REFERENCES number(serial),
    chip TEXT NOT NULL,
    place TEXT NOT NULL,
    operator TEXT NOT NULL,
    state TEXT NOT NULL,
    tries INTEGER NOT NULL,
    error TEXT NOT NULL,
    at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_number_a_chip ON board(chip) WHERE chip != '';
CREATE TABLE request (id TEXT PRIMARY KEY, first TEXT NOT NULL, count INTEGER NOT NULL,
    done INTEGER NOT NULL) STRICT;
{_ORIGIN};
"""
_WAIT_S = 60.0
_BY_SERIAL = "SELECT serial, chip, place, operator, state, tries, error FROM board WHERE serial = ?"
_BY_CHIP = "SELECT serial, chip, place, operator, state, tries, error FROM board WHERE chip = ?"


class BoardState(StrEnum):
    """How far a board is. `LOST`: it was cut before anything on it could tell its number."""

    BEGUN = "begun"
    WRITTEN = "written"
    TESTED = "tested"
    LOCKING = "locking"
    LOCKED = "locked"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class LineBoard:
    """One board. chip: its own number, empty where the way does not tell it."""

    serial: str
    chip: str
    place: str
    operator: str
    state: BoardState
    tries: int
    error: str


def numbers_in(path: Path) -> set[str]:
    """Every serial number that the book of a job has, given or free. Raises BadInputError."""
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S)) as database:
            return {str(row[0]) for row in database.execute("SELECT serial FROM number")}
    except sqlite3.DatabaseError as error:
        raise BadInputError(
            f"{path} is not the book of a job: {error}.",
            kept="It was not touched, and nothing was begun.",
            todo="Put it elsewhere, if it is something else.",
        ) from None


class NoNumberError(RefusedError):
    """Every number that the book has is a board's."""


class LineBook:
    """Safe for several processes. who: the operator; place: the programmer."""

    def __init__(
        self,
        path: Path,
        name: str,
        fingerprint: str,
        *,
        who: str,
        place: str,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Opens or begins it. Raises BadInputError for another file, RefusedError for the book of
        another job, or of this one before it was changed."""
        self._who, self._place, self._now = who, place, now
        try:
            self._database = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            with self._change():
                self._begin(name, fingerprint)
        except sqlite3.DatabaseError as error:
            raise BadInputError(
                f"{path} is not the book of a job: {error}.", kept="It was not touched."
            ) from None
        path.chmod(0o600)

    def close(self) -> None:
        self._database.close()

    def _begin(self, name: str, fingerprint: str) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise NewerStateError("The book of this job", version, FORMAT)
        if version == 0:
            for statement in (_SCHEMA + audit.SCHEMA).split(";\n"):
                if statement.strip():
                    self._database.execute(statement)
            self._database.execute("INSERT INTO job VALUES (?, ?)", (name, fingerprint))
            self._tell("began the job", name)
        elif version == 1:
            self._database.execute(_ORIGIN)
            self._database.execute(f"PRAGMA user_version = {FORMAT}")
        known, had = self._database.execute("SELECT name, fingerprint FROM job").fetchone()
        if (known, had) != (name, fingerprint):
            what = "changed since it was begun" if known == name else f"that of {known!r}"
            raise RefusedError(
                f"The book beside the job {name!r} is {what}.",
                kept="Nothing was written to a board; the book is as it was.",
                todo="Put the job's files back as they were, or begin another job.",
            )

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _tell(self, act: str, subject: str, detail: str = "") -> None:
        who = f"{self._who} at {self._place}"
        audit.append(self._database, self._now(), who, act, subject, detail)

    def hold(self, what: str, value: str) -> None:
        """What no file of the job tells, and what has to stay as it was when it was first needed:
        the keys behind a name, the firm behind a credential. Raises RefusedError for another."""
        with self._change():
            self._database.execute("INSERT OR IGNORE INTO origin VALUES (?, ?)", (what, value))
            query = "SELECT value FROM origin WHERE what = ?"
            (had,) = self._database.execute(query, (what,)).fetchone()
        if had != value:
            raise RefusedError(
                f"The {what} of this job are not those that it was begun with.",
                kept="Nothing was written to a board; the book is as it was.",
                todo="Put those back, or begin another job.",
            )

    # -- numbers -------------------------------------------------------------------------------

    def add_numbers(self, serials: list[str], request: str = "") -> None:
        """Numbers that this job may give. One that it has is not added again."""
        with self._change():
            self._database.executemany(
                "INSERT OR IGNORE INTO number VALUES (?, 'free')", [(one,) for one in serials]
            )
            if request:
                self._database.execute("UPDATE request SET done = 1 WHERE id = ?", (request,))
                self._tell("was given numbers", serials[0], str(len(serials)))

    def open_request(self, first: str, count: int, fresh: str) -> tuple[str, str, int]:
        """(name, first, count) of what the server is to be asked: what was asked before a kill and
        not answered, or something new, kept before it is asked."""
        with self._change():
            row = self._database.execute(
                "SELECT id, first, count FROM request WHERE done = 0"
            ).fetchone()
            if row is None:
                row = (fresh, first, count)
                self._database.execute("INSERT INTO request VALUES (?, ?, ?, 0)", row)
            return row[0], row[1], row[2]

    def free(self) -> int:
        """How many numbers nobody has."""
        query = "SELECT count(*) FROM number WHERE state = 'free'"
        return int(self._database.execute(query).fetchone()[0])

    def unfinished(self) -> int:
        """How many boards have a number and are neither made nor given up."""
        query = "SELECT count(*) FROM board WHERE state NOT IN (?, ?)"
        ended = (BoardState.DONE, BoardState.LOST)
        return int(self._database.execute(query, ended).fetchone()[0])

    # -- boards --------------------------------------------------------------------------------

    def begin(self, chip: str, told: str) -> LineBoard:
        """The board at hand: known by its chip's number, or by the serial number that it tells, or
        new, and then it gets the lowest number that is free. Raises RefusedError for a number of
        another job, or of another board; when no number is left."""
        with self._change():
            known = self._known(chip, told)
            if known is None:
                known = self._new(chip)
            elif known.state is not BoardState.DONE:
                self._database.execute(
                    "UPDATE board SET tries = tries + 1, place = ?, operator = ?, at = ? "
                    "WHERE serial = ?",
                    (self._place, self._who, self._now(), known.serial),
                )
                self._tell("went on with the board", known.serial, known.state)
        return known

    def _known(self, chip: str, told: str) -> LineBoard | None:
        by_chip = self._one("chip", chip) if chip else None
        by_serial = self._one("serial", told) if told else None
        if told and by_serial is None:
            raise RefusedError(
                f"The board is {told}, which this job gave to no board.",
                kept="Nothing was written to it.",
                todo="Lay it aside: it is of another job, or was made by hand.",
            )
        if by_serial is not None and chip and by_serial.chip not in ("", chip):
            raise RefusedError(
                f"The board says that it is {told}, which another chip has: a copy of its flash.",
                kept="Nothing was written to it.",
                todo="Lay it aside, and find out where it comes from.",
            )
        if by_chip is not None and told and by_chip.serial != told:
            raise RefusedError(
                f"The board is {by_chip.serial} in the book, and {told} in its flash.",
                kept="Nothing was written to it.",
                todo="Lay it aside, and find out who wrote to it.",
            )
        return by_serial or by_chip

    def _new(self, chip: str) -> LineBoard:
        row = self._database.execute(
            "SELECT serial FROM number WHERE state = 'free' ORDER BY serial LIMIT 1"
        ).fetchone()
        if row is None:
            raise NoNumberError(
                "The job has no serial number left.",
                kept="Nothing was written to the board.",
                todo="Begin another job, or raise none of this one's numbers by hand.",
            )
        serial = str(row[0])
        self._database.execute("UPDATE number SET state = 'given' WHERE serial = ?", (serial,))
        self._database.execute(
            "INSERT INTO board VALUES (?, ?, ?, ?, ?, 1, '', ?)",
            (serial, chip, self._place, self._who, BoardState.BEGUN, self._now()),
        )
        self._tell("gave a number to a board", serial, chip)
        return self._found(serial)

    def mark(self, serial: str, state: BoardState, error: str = "") -> None:
        """How far it is now; on the disk when this returns."""
        with self._change():
            self._database.execute(
                "UPDATE board SET state = ?, error = ?, at = ? WHERE serial = ?",
                (state, error, self._now(), serial),
            )
            self._tell(f"board {state}", serial, error)

    def fail(self, serial: str, error: str) -> None:
        """What went wrong with it. One that is being locked stays so, and one that nothing would
        tell again is lost, with its number."""
        board = self._found(serial)
        if board.state in (BoardState.LOCKING, BoardState.LOCKED, BoardState.DONE):
            self.mark(serial, board.state, error)
        elif board.state is BoardState.BEGUN and not board.chip:
            self.mark(serial, BoardState.LOST, error)
        else:
            self.mark(serial, BoardState.FAILED, error)

    def give_up_unknown(self) -> list[str]:
        """Boards that this place began before it was killed, and that nothing can tell again: their
        numbers are nobody's any more."""
        query = "SELECT serial FROM board WHERE place = ? AND chip = '' AND state = ?"
        lost = [
            str(row[0])
            for row in self._database.execute(query, (self._place, BoardState.BEGUN)).fetchall()
        ]
        for serial in lost:
            self.mark(serial, BoardState.LOST, "the line was stopped while it was written")
        return lost

    def _one(self, column: Literal["chip", "serial"], value: str) -> LineBoard | None:
        query = _BY_CHIP if column == "chip" else _BY_SERIAL
        row = self._database.execute(query, (value,)).fetchone()
        if row is None:
            return None
        serial, chip, place, operator, state, tries, error = row
        return LineBoard(serial, chip, place, operator, BoardState(state), tries, error)

    def _found(self, serial: str) -> LineBoard:
        board = self._one("serial", serial)
        assert board is not None
        return board

    # -- looking back --------------------------------------------------------------------------

    def boards(self) -> list[LineBoard]:
        query = "SELECT serial FROM board ORDER BY serial"
        return [self._found(str(row[0])) for row in self._database.execute(query).fetchall()]

    def acts(self) -> list[str]:
        """The audit log as JSON lines, oldest first."""
        return list(audit.export(self._database))

    def account(self) -> dict[str, int]:
        """How many boards are in each state, and how many numbers are free."""
        query = "SELECT state, count(*) FROM board GROUP BY state"
        counted = {str(state): int(count) for state, count in self._database.execute(query)}
        return {state.value: counted.get(state, 0) for state in BoardState} | {"free": self.free()}
