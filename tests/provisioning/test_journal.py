"""The journal as a state machine: after any steps and reopenings it says what was last written."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tallystick.common.errors import BadInputError
from tallystick.common.formats import NewerStateError
from tallystick.provisioning.audit import verify
from tallystick.provisioning.journal import CardState, JournalWriteError, StationJournal

SERIALS = st.sampled_from([f"TS0000000{n}" for n in range(4)])
MIDDLE = st.sampled_from([CardState.SEEDED, CardState.VERIFIED, CardState.REGISTERED])


class JournalMachine(RuleBasedStateMachine):
    """open: serial → (state, container) of the run under way; entries: length of the audit log."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.db"
        self.journal = StationJournal(self.path)
        self.open: dict[str, tuple[CardState, bytes | None]] = {}
        self.entries = 0

    def teardown(self):
        self.journal.close()
        self.folder.cleanup()

    @rule()
    def reopen(self):
        """As after a kill: nothing is closed in good order but the file."""
        self.journal.close()
        self.journal = StationJournal(self.path)

    @rule(serial=SERIALS)
    def begin(self, serial):
        if serial in self.open:
            with pytest.raises(sqlite3.IntegrityError):
                self.journal.begin(serial, "b", "http://localhost", None)
            return
        self.journal.begin(serial, "b", "http://localhost", None)
        self.open[serial] = (CardState.AUTHENTIC, None)
        self.entries += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), container=st.binary(min_size=1, max_size=20))
    def keep(self, data, container):
        serial = data.draw(st.sampled_from(sorted(self.open)))
        record = self.journal.open_run(serial)
        self.journal.keep_seed(record, container, container[::-1], 6)
        self.open[serial] = (CardState.KEYED, container)
        self.entries += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), state=MIDDLE)
    def advance(self, data, state):
        serial = data.draw(st.sampled_from(sorted(self.open)))
        self.journal.advance(self.journal.open_run(serial), state)
        self.open[serial] = (state, self.open[serial][1])
        self.entries += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), good=st.booleans())
    def end(self, data, good):
        serial = data.draw(st.sampled_from(sorted(self.open)))
        record = self.journal.open_run(serial)
        if good:
            self.journal.finish(record, CardState.LOCKED)
        else:
            self.journal.fail(record, "why")
        del self.open[serial]
        self.entries += 1
        last = self.journal.latest(serial)
        assert last.container is None and last.seed is None

    @rule(serial=SERIALS)
    def killed_inside_a_step(self, serial):
        """What was begun and not committed is not there."""
        with pytest.raises(KeyboardInterrupt), self.journal._transaction():
            self.journal._database.execute("DELETE FROM cards")
            raise KeyboardInterrupt

    @invariant()
    def says_what_was_written(self):
        found = {r.serial: (r.state, r.container) for r in self.journal.unfinished()}
        assert found == self.open
        verdict = verify(self.journal.audit_log())
        assert verdict.problems == () and verdict.entries == self.entries


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


def test_mode_and_durability(tmp_path):
    journal = StationJournal(tmp_path / "j.db")
    assert (tmp_path / "j.db").stat().st_mode & 0o777 == 0o600
    (mode,) = journal._database.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = journal._database.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)
    journal.close()


def test_a_file_that_is_something_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at" * 10)
    with pytest.raises(BadInputError, match="cannot be used"):
        StationJournal(path)
    assert path.read_text().startswith("not a database")


def test_a_journal_of_a_later_version(tmp_path):
    journal = StationJournal(tmp_path / "j.db")
    journal._database.execute("PRAGMA user_version=99")
    journal.close()
    before = (tmp_path / "j.db").read_bytes()
    with pytest.raises(NewerStateError, match="format is 99") as caught:
        StationJournal(tmp_path / "j.db")
    assert "newer version" in caught.value.todo
    assert (tmp_path / "j.db").read_bytes() == before


def test_a_full_disk_is_told_and_the_journal_goes_on_when_there_is_room(tmp_path):
    journal = StationJournal(tmp_path / "journal.db")
    record = journal.begin("TS00000001", "b", "http://localhost", None)
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own full disk
    with pytest.raises(JournalWriteError, match="full") as caught:
        journal.keep_seed(record, bytes(100_000), b"seed", 6)
    assert "resume" in caught.value.todo
    assert journal.open_run("TS00000001").state is CardState.AUTHENTIC
    journal._database.execute("PRAGMA max_page_count=100000")
    assert journal.keep_seed(record, b"container", b"seed", 6).state is CardState.KEYED
    assert len(journal.audit_log()) == 2
    journal.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path):
    """As when another program holds the file, or the disk fills up at the commit itself."""
    journal = StationJournal(tmp_path / "journal.db")
    record = journal.begin("TS00000001", "b", "http://localhost", None)
    # A constraint that is looked at when the transaction is committed.
    for statement in (
        "PRAGMA foreign_keys=ON",
        "CREATE TABLE other (id INTEGER PRIMARY KEY)",
        "CREATE TABLE late (id REFERENCES other DEFERRABLE INITIALLY DEFERRED)",
        "CREATE TRIGGER at_commit AFTER UPDATE ON cards BEGIN INSERT INTO late VALUES (7); END",
    ):
        journal._database.execute(statement)
    with pytest.raises(sqlite3.IntegrityError):
        journal.advance(record, CardState.SEEDED)
    journal._database.execute("DROP TRIGGER at_commit")
    assert journal.advance(record, CardState.SEEDED).state is CardState.SEEDED
    journal.close()
