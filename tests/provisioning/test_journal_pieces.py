"""The journal, question by question: what each says of the runs that were noted."""

from __future__ import annotations

import getpass
import json
import sqlite3
import threading

import pytest

from tallystick.common.errors import BadInputError
from tallystick.common.formats import NewerStateError
from tallystick.provisioning import journal as module
from tallystick.provisioning.journal import (
    FINISHED,
    BatchRecord,
    BoxedCard,
    CardState,
    CertificateRecord,
    HeardFirm,
    JournalWriteError,
    Rotation,
    StationJournal,
)

SERVER = "http://localhost"
A, B, C = "TS00000001", "TS00000002", "TS00000003"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def journal(tmp_path):
    made = StationJournal(tmp_path / "journal.db", who="ann", now=Clock())
    yield made
    made.close()


def run(journal, serial, state=CardState.AUTHENTIC, *, batch="june", user=None, digits=6):
    """A run that has come so far, with its seed."""
    record = journal.begin(serial, batch, SERVER, user)
    if state is not CardState.AUTHENTIC:
        record = journal.keep_seed(record, b"container", b"seed", digits)
    if state in FINISHED:
        return journal.finish(record, state)
    if state is CardState.FAILED:
        return journal.fail(record, "why")
    return journal.advance(record, state)


def told(journal):
    """The audit log: (who, act, whom, more) of each entry."""
    entries = map(json.loads, journal.audit_log())
    return [(one["who"], one["act"], one["subject"], one["detail"]) for one in entries]


# -- runs ----------------------------------------------------------------------------------------


def test_what_a_run_is_when_it_begins(journal):
    record = journal.begin(A, "june", SERVER, "ada")
    assert (record.serial, record.batch, record.user, record.server) == (A, "june", "ada", SERVER)
    assert record.state is CardState.AUTHENTIC and record.reseed is False
    assert (record.digits, record.container, record.seed, record.reason) == (None,) * 4
    assert record.device == "card" and journal.open_run(A) == record
    again = journal.begin(B, "june", SERVER, None, reseed=True, device="reader")
    assert again.reseed is True and again.device == "reader" and again.id != record.id
    assert told(journal) == [
        ("ann", "card authentic", A, "batch june"),
        ("ann", "reader authentic", B, "batch june, also in place of an older seed"),
    ]


def test_what_is_kept_until_a_run_has_ended(journal):
    record = journal.keep_seed(journal.begin(A, "june", SERVER, None), b"container", b"seed", 8)
    assert (record.state, record.digits) == (CardState.KEYED, 8)
    assert (record.container, record.seed) == (b"container", b"seed")
    assert journal.advance(record, CardState.SEEDED).container == b"container"
    ended = journal.fail(record, "it broke")
    assert (ended.state, ended.reason) == (CardState.FAILED, "it broke")
    assert ended.container is None and ended.seed is None
    better = run(journal, A, CardState.LOCKED)
    assert better.container is None and better.seed is None and better.reason is None
    acts = [act for _, act, _, _ in told(journal)]
    assert acts == ["card authentic", "seed made", "card seeded", "card failed",
                    "card authentic", "seed made", "card locked"]  # fmt: skip


def test_which_runs_there_are(journal):
    """Oldest first; of a card that was made twice, both."""
    first = run(journal, A, CardState.FAILED)
    second = run(journal, A, CardState.LOCKED, user="ada")
    third = run(journal, B, CardState.SEEDED, batch="july", user="bob")
    fourth = run(journal, C, CardState.LABELLED)
    assert journal.runs() == [first, second, third, fourth]
    assert journal.runs_of(A) == [first, second] and journal.latest(A) == second
    assert journal.latest_of_each() == [second, third, fourth]
    assert journal.unfinished() == [third] and journal.open_run(A) is None
    assert journal.batch("june") == [first, second, fourth]
    assert journal.finished("june") == [second, fourth] and journal.finished("july") == []
    assert [journal.user_of(serial) for serial in (A, B, C, "TS00000009")] == ["ada", "bob", "", ""]
    assert journal.latest("TS00000009") is None


def test_the_latest_batches_come_first(journal):
    run(journal, A, CardState.LOCKED)
    run(journal, B, CardState.LABELLED)
    ended = run(journal, C, CardState.FAILED)
    last = run(journal, C, CardState.VERIFIED, batch="july")
    june = BatchRecord("june", 2, 0, ended.changed_at)
    july = BatchRecord("july", 0, 1, last.changed_at)
    assert journal.batches(9) == [july, june] and journal.batches(1) == [july]


@pytest.mark.parametrize(
    ("text", "serials"),
    [
        ("", [C, B, A]),
        ("TS0000000", [C, B, A]),
        ("0002", [B]),
        ("jun", [B, A]),
        ("ADA", [A]),
        ("seeded", [C]),
        ("100%", [C]),
        ("0%1", []),
        ("a_a", []),
        ("_", [B]),
        ("\\", [B]),
        ("\\_", [B]),
    ],
)
def test_a_search_takes_its_text_as_it_is(journal, text, serials):
    """What SQL would take for a wildcard is a sign like any other."""
    run(journal, A, CardState.LOCKED, user="ada")
    run(journal, B, CardState.LOCKED, user="bob\\_x")
    run(journal, C, CardState.SEEDED, batch="july 100%")
    assert [record.serial for record in journal.search(text, 9)] == serials
    assert [record.serial for record in journal.search(text, 1)] == serials[:1]


# -- what else is noted --------------------------------------------------------------------------


def test_what_a_server_last_said_of_the_firm(journal):
    assert journal.firm() == HeardFirm("", "", ("en",), None)
    journal.keep_firm("Firm", "Room 3", ["de", "en"], "Europe/Berlin")
    heard = journal.firm()
    assert (heard.name, heard.contact, heard.languages) == ("Firm", "Room 3", ("de", "en"))
    assert str(heard.zone) == "Europe/Berlin"
    for zone in ("Nowhere/Never", "../../etc", ""):
        journal.keep_firm("Another", "", ["fr"], zone)
        assert journal.firm() == HeardFirm("Another", "", ("fr",), None)


def test_how_many_blank_cards_there_are_to_be(journal):
    assert journal.blank_minimum() == 0
    for minimum in (7, 12):
        journal.keep_blank_minimum(minimum)
        assert journal.blank_minimum() == minimum


def test_a_card_stays_in_the_box_in_which_it_came(journal):
    assert journal.put_into_box("B17", [A, B, A]) == []
    known = journal.put_into_box("B18", [B, C])
    assert [(one.serial, one.box) for one in known] == [(B, "B17")]
    assert journal.put_into_box("B18", [C])[0].box == "B18"
    assert [one.serial for one in journal.boxed()] == [A, B, C]
    assert [one.serial for one in journal.boxed("B17")] == [A, B]
    assert told(journal) == [("ann", "box scanned", "B17", "2 cards"),
                             ("ann", "box scanned", "B18", "1 cards")]  # fmt: skip


def test_which_cards_of_a_box_are_blank(journal):
    journal.put_into_box("B17", [A, B, C])
    run(journal, A, CardState.FAILED)
    run(journal, A, CardState.LOCKED)
    run(journal, B, CardState.FAILED)
    found = journal.boxed()
    assert [one.state for one in found] == [CardState.LOCKED, CardState.FAILED, None]
    assert [one.blank for one in found] == [False, True, True]
    assert BoxedCard(A, "B17", 0, CardState.LABELLED).blank is False


def test_certificates_of_a_job(journal):
    journal.keep_facts(B, "T1")
    journal.keep_facts(A, "T1", "{}")
    journal.keep_facts(C, "T2", "{}")
    assert journal.certificate("TS00000009") is None
    assert journal.certificate(B) == CertificateRecord(B, "T1", None, None)
    journal.keep_certificate(A, "a.b.c")
    assert journal.certificates("T1") == [
        CertificateRecord(A, "T1", "{}", "a.b.c"), CertificateRecord(B, "T1", None, None)
    ]  # fmt: skip
    assert told(journal) == [("ann", "card certified", A, "")]
    journal.keep_facts(A, "T3")  # made anew
    assert journal.certificate(A) == CertificateRecord(A, "T3", None, None)


# -- the firm's keys -----------------------------------------------------------------------------


def keyed(journal, serial, version, state=CardState.LOCKED):
    record = run(journal, serial, state)
    if version is not None:
        journal.note_key_version(serial, version)
    return record


def test_how_far_the_firms_keys_are_on_its_cards(journal):
    assert journal.rotation() == Rotation(None, {}, [], None)
    for serial, version in ((C, 2), (A, 1), (B, 2)):
        keyed(journal, serial, version)
    keyed(journal, "TS00000004", None)
    keyed(journal, "TS00000005", 1, CardState.VERIFIED)  # not in service
    reader = journal.begin("TS00000006", "june", SERVER, None, device="reader")
    journal.finish(reader, CardState.LOCKED)
    found = journal.rotation()
    assert found == Rotation(2, {1: [A], 2: [B, C]}, ["TS00000004"], None)
    assert list(found.cards) == [1, 2] and found.left == [A]
    journal.note_key_version(B, 1)
    assert journal.rotation().left == [A, B]


def test_the_version_that_cards_shall_have(journal):
    keyed(journal, A, 1)
    journal.begin_rotation(2, "2030-01-31")
    found = journal.rotation()
    assert (found.current, found.until, found.left) == (2, "2030-01-31", [A])
    journal.begin_rotation(3, None)
    journal.note_key_version(A, 3)
    found = journal.rotation()
    assert (found.current, found.until, found.left) == (3, None, [])


@pytest.mark.parametrize(
    ("acts", "counts"),
    [
        (["card wiped"], False),
        (["card retired"], False),
        (["card retired", "act undone"], True),
        (["card retired", "act undone", "card retired"], False),
        (["something else"], True),
    ],
)
def test_a_card_that_was_retired_or_wiped_is_not_counted(journal, acts, counts):
    keyed(journal, A, 1)
    keyed(journal, B, 1)
    for act in acts:
        journal.note(act, A)
    assert journal.rotation().cards == {1: [A, B] if counts else [B]}
    keyed(journal, A, 2)  # and is again when it is made anew
    assert journal.rotation().cards == {1: [B], 2: [A]}


def test_a_card_that_ended_in_the_moment_in_which_it_was_made_has_ended(tmp_path):
    journal = StationJournal(tmp_path / "journal.db", now=lambda: 5.0)
    keyed(journal, A, 1)
    journal.note("card retired", A)
    assert journal.rotation().cards == {}
    journal.close()


# -- who acts ------------------------------------------------------------------------------------


def test_whose_acts_they_are(journal, tmp_path):
    journal.note("spoke", A, "loudly")
    journal.note("spoke", A, by="station-1")
    assert told(journal) == [("ann", "spoke", A, "loudly"), ("ann as station-1", "spoke", A, "")]
    other = StationJournal(tmp_path / "other.db")
    other.note("spoke", A)
    assert told(other) == [(getpass.getuser(), "spoke", A, "")]
    other.close()


# -- the file ------------------------------------------------------------------------------------


def test_file_and_folder_are_their_owners_only(tmp_path):
    path = tmp_path / "state" / "station" / "journal.db"
    StationJournal(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_overwritten_is_not_left_in_the_file(tmp_path):
    """The container of a card that is done is not found in the free pages either."""
    journal = StationJournal(tmp_path / "journal.db")
    record = journal.begin(A, "june", SERVER, None)
    record = journal.keep_seed(record, b"SEALED-CONTAINER" * 9, b"SEALED-SEED", 6)
    journal.finish(record, CardState.LOCKED)
    journal.close()
    assert b"SEALED" not in (tmp_path / "journal.db").read_bytes()


def test_a_closed_journal_holds_its_file_no_more(tmp_path):
    journal = StationJournal(tmp_path / "journal.db")
    journal.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        journal.runs()


def test_several_threads_use_one_journal(journal):
    found = []
    thread = threading.Thread(target=lambda: found.append(run(journal, A)))
    thread.start()
    thread.join()
    assert found == [journal.latest(A)]


def test_a_journal_of_every_older_version_is_brought_on(tmp_path, monkeypatch):
    """With what is in it."""
    migrations = module._MIGRATIONS
    for version in range(1, len(migrations) + 1):
        path = tmp_path / f"{version}.db"
        with monkeypatch.context() as old:
            old.setattr(module, "_MIGRATIONS", migrations[:version])
            old.setattr(module, "SCHEMA_VERSION", version)
            StationJournal(path).close()
        database = sqlite3.connect(path)
        database.execute(
            "INSERT INTO cards (serial, batch, state, reseed, server, began_at, changed_at)"
            " VALUES (?, 'june', 'locked', 0, ?, 1, 1)", (A, SERVER),
        )  # fmt: skip
        database.commit()
        (before,) = database.execute("PRAGMA schema_version").fetchone()
        database.close()
        journal = StationJournal(path)
        assert journal.latest(A).device == "card"
        run(journal, B, CardState.LOCKED)
        journal.keep_blank_minimum(1)
        (stands,) = journal._database.execute("PRAGMA user_version").fetchone()
        (after,) = journal._database.execute("PRAGMA schema_version").fetchone()
        assert stands == len(migrations) and (after == before) == (version == len(migrations))
        journal.close()


def test_a_journal_that_is_current_is_not_written_to(journal, tmp_path):
    watching = sqlite3.connect(tmp_path / "journal.db")
    (before,) = watching.execute("PRAGMA data_version").fetchone()
    StationJournal(tmp_path / "journal.db").close()
    assert watching.execute("PRAGMA data_version").fetchone() == (before,)
    watching.close()


def test_a_journal_of_a_later_version_is_left_as_it_is(tmp_path, monkeypatch):
    """Also one that is not kept as we keep ours; and it is not held open."""
    path = tmp_path / "journal.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.execute("CREATE TABLE later (id)")
    database.close()
    before, opened = path.read_bytes(), []
    genuine = sqlite3.connect

    def connect(*words, **more):
        opened.append(genuine(*words, **more))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(NewerStateError):
        StationJournal(path)
    assert path.read_bytes() == before and {one.name for one in tmp_path.iterdir()} == {path.name}
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_durability_and_wiping_are_not_left_to_what_sqlite_was_built_with(tmp_path, monkeypatch):
    genuine = sqlite3.connect

    def connect(*words, **more):
        database = genuine(*words, **more)
        database.execute("PRAGMA synchronous=OFF")
        database.execute("PRAGMA secure_delete=OFF")
        return database

    monkeypatch.setattr(sqlite3, "connect", connect)
    journal = StationJournal(tmp_path / "journal.db")
    asked = ("synchronous", "secure_delete", "journal_mode")
    found = [journal._database.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
    assert found == [2, 1, "wal"]
    journal.close()


def test_a_file_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be used") as caught:
        StationJournal(tmp_path / "file" / "journal.db")
    assert "--journal" in caught.value.todo


def test_a_step_that_another_program_blocks_is_told(journal, tmp_path):
    journal._database.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalWriteError, match="locked"):
        journal.begin(A, "june", SERVER, None)
    other.execute("ROLLBACK")
    other.close()
    assert journal.begin(A, "june", SERVER, None).serial == A
