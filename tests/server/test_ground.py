"""Every fault of the ground under the server: caused, seen by people, doctor, log and metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from tallystick.common.errors import TallyError
from tallystick.server.messages import gateways, outbox
from tallystick.server.messages.gateways import Letter, gateway_from
from tallystick.server.messages.outbox import Outbox
from tallystick.server.operating import doctor, operations
from tallystick.server.operating.cli import server as command
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running_in_thread, start
from tallystick.server.settings import settings_from
from tallystick.server.state import open_state
from tallystick.server.store import audit, keys, probe, schema
from tallystick.server.store import database as store
from tallystick.server.store.database import Database
from tallystick.server.store.keys import KeyFileError
from tallystick.server.store.models import CardRow
from tallystick.server.store.models_login import MessageRow
from tallystick.server.store.opened import opened
from tallystick.server.store.trouble import trouble_of
from tallystick.server.store.watch import GroundWatch
from tests.server.ground import GroundRow, bounded_memory, compare, plain, small_disk
from tests.server.test_deployment import certificate_for
from tests.server.test_postgresql import User, crash_under_load, nothing_lost, seeds_of_four
from tests.server.test_process import enrol

pytestmark = pytest.mark.slow


def finding(settings, name: str) -> str:
    """What the doctor says of this, with its mark."""
    found = {one.name: one for one in doctor.examine(settings)}[name]
    return plain(f"{found.state}: {name}: {found.detail}")


def metric(name: str, **labels: str) -> float:
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels) or 0.0


def trouble(kind: str) -> float:
    return metric("tally_database_trouble_total", kind=kind)


def said(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    return f"{answer.status_code}: {error['what']}"


def logged(caplog, begin: str) -> str:
    lines = [record.getMessage() for record in caplog.records]
    return next(line for line in lines if line.startswith(begin))


@pytest.fixture
def on_disk(server, tmp_path) -> Iterator[tuple]:
    """The server's database on a disk of its own, and a card with a next code."""
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    with small_disk(tmp_path, 4096) as disk:
        with opened(server.settings) as parts:
            operations.backup(parts.database, disk / "server.db")
        settings = replace(
            server.settings,
            db_url=f"sqlite:///{disk / 'server.db'}",
            key_file=server.settings.key_file,
        )
        yield disk, settings, seed


def verify(client, server, seed, factor) -> httpx.Response:
    headers = {"authorization": f"Bearer {server.service.token.reveal().decode()}"}
    body = {"user": "ann", "code": hotp(seed, factor, 6)}
    return client.post("/v1/verify", json=body, headers=headers)


def test_the_disk_is_full(on_disk, server, caplog, well_no_longer):
    disk, settings, seed = on_disk
    with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert verify(client, server, seed, 1).json()["reason"] == "ok"
        filler = fill(disk)
        before, factor, accepted = trouble("full"), 2, [1]
        answer = verify(client, server, seed, factor)
        while answer.status_code == 200:  # what fits into the room that the log has yet
            accepted.append(factor)
            factor += 1
            answer = verify(client, server, seed, factor)
        people, found = said(answer), finding(settings, "disk")
        assert health(client) == 503
        assert answer.headers["retry-after"] == "60" and trouble("full") > before
        filler.unlink()
        assert health(client) == 200
        assert verify(client, server, seed, factor).json()["reason"] == "ok"  # by itself
        for old in accepted[-5:]:
            assert verify(client, server, seed, old).json()["reason"] == "replayed"
    compare(
        GroundRow(
            "disk full", people, found, logged(caplog, "The disk"),
            "`tally_database_trouble_total{kind=\"full\"}`",
            "Make room. The server goes on by itself.",
        )
    )  # fmt: skip


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    return filler


def lines_of(file: Path) -> tuple[list[dict], int]:
    """→ those that are whole, and how many are not"""
    whole, halves = [], 0
    for line in file.read_text().splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            halves += 1
    return whole, halves


def soon(client: httpx.Client, ready: Callable[[], object]) -> None:
    """A thread is to do it: it is asked again while the server answers."""
    for _ in range(2000):
        if ready():
            return
        assert health(client) == 200
    raise AssertionError("it does not come")


def verified_in(file: Path) -> list[int]:
    return [one["number"] for one in lines_of(file)[0] if one["act"] == "verified"]


def test_the_disk_of_the_audit_stream_is_full(server, tmp_path, caplog):
    """A part of a line goes in yet: its entry comes again, whole, in a line of its own."""
    seed = server.card()
    with small_disk(tmp_path, 1024) as disk:
        file = disk / "audit.jsonl"
        settings = replace(server.settings, audit_stream=f"file://{file}")
        with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
            before = metric("tally_audit_stream_total", outcome="failed")
            assert verify(client, server, seed, 0).json()["reason"] == "ok"
            soon(client, lambda: file.exists() and verified_in(file))
            filler, factor = fill(disk), 1
            while metric("tally_audit_stream_total", outcome="failed") == before:
                answer = verify(client, server, seed, factor)
                factor += 1
                assert answer.json()["reason"] == "ok" and health(client) == 200
            found = finding(settings, "disk of the audit stream")
            _, halves = lines_of(file)
            filler.unlink()
            soon(client, lambda: len(verified_in(file)) == factor)
            numbers = verified_in(file)
            assert (halves, lines_of(file)[1]) == (1, 1)
            assert numbers == list(range(numbers[0], numbers[0] + factor))
    assert logged(caplog, "the audit log is streamed again")
    row(
        "disk of the audit stream full", "nothing: checks and pages go on", found,
        logged(caplog, "the audit log is not streamed"),
        '`tally_audit_stream_total{outcome="failed"}`',
        "Make room. What waited comes then; half a line may stay before it.",
    )  # fmt: skip


def test_the_disk_of_the_request_log_is_full(server, tmp_path, caplog):
    with small_disk(tmp_path, 1024) as disk:
        file = disk / "requests.log"
        settings = replace(server.settings, request_log=file)
        with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
            # The line is written after the answer: one before the disk is full has room behind it.
            soon(client, lambda: lines_of(file)[0])
            filler, before = fill(disk), metric("tally_request_log_lost_total")
            soon(client, lambda: metric("tally_request_log_lost_total") > before)
            found = finding(settings, "disk of the request log")
            filler.unlink()
            written = len(lines_of(file)[0])
            assert health(client) == 200 == health(client)
        whole, halves = lines_of(file)
        last_of_the_full = len(whole) - written - 2  # it may be written once there is room
        assert (last_of_the_full in (0, 1), halves) == (True, 1)
    row(
        "disk of the request log full", "nothing: checks and pages go on", found,
        logged(caplog, "the request log"), "`tally_request_log_lost_total`",
        "Make room. Lines that were lost are counted.",
    )  # fmt: skip


def test_the_folder_of_copies_is_full(server, tmp_path):
    """No half of a copy is left, and older ones are."""
    where = ("--db", server.settings.db_url, "--key-file", str(server.settings.key_file))
    with small_disk(tmp_path, 4096) as disk:
        run = CliRunner().invoke(command, ["backup", "--keep", "1", str(disk), *where])
        assert run.exit_code == 0
        (made,) = disk.iterdir()
        older = made.rename(disk / "tallystick-20260101T000000Z.db")
        filler = fill(disk)
        run = CliRunner().invoke(command, ["backup", "--keep", "1", str(disk), *where])
        assert isinstance(run.exception, TallyError)
        assert sorted(disk.iterdir()) == sorted([older, filler])
        told = plain(run.exception.what)
    row(
        "folder of copies full", "nothing: checks and pages go on", "–",
        f"of `tallystick-backup`: {re.sub(r'tallystick-[0-9TZ]+', 'TIME', told)}",
        "`node_systemd_unit_state`, of the node exporter",
        "Make room. Older copies stay; the next day's is made by itself.",
    )  # fmt: skip


def test_half_a_restore_is_none(server, tmp_path):
    """Its disk was full: the same may be done again."""
    server.card()
    with small_disk(tmp_path, 4096) as disk:
        target = Database(f"sqlite:///{disk / 'new.db'}")
        with opened(server.settings) as parts:
            operations.backup(parts.database, tmp_path / "copy.db")
            filler = fill(disk)
            os.truncate(filler, filler.stat().st_size - 65536)  # it can be begun
            again = partial(
                operations.restore, target, tmp_path / "copy.db", ring=parts.ring, advance=1,
                newer=None, now=server.clock(),
            )  # fmt: skip
            with pytest.raises(TallyError, match="cannot be copied"):
                again()
            filler.unlink()
            assert again()["cards"] == 1
        target.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("SQLITE_BUSY", "locked"), ("SQLITE_BUSY_SNAPSHOT", "locked"),
        ("SQLITE_LOCKED", "locked"), ("SQLITE_LOCKED_SHAREDCACHE", "locked"),
        ("SQLITE_FULL", "full"), ("SQLITE_READONLY", "read-only"),
        ("SQLITE_READONLY_DBMOVED", "read-only"), ("SQLITE_CANTOPEN", "read-only"),
        ("SQLITE_IOERR", "failing"), ("SQLITE_IOERR_FSYNC", "failing"),
        ("SQLITE_CORRUPT", "damaged"), ("SQLITE_NOTADB", "damaged"), ("SQLITE_ERROR", "away"),
    ],
)  # fmt: skip
def test_what_sqlite_says_is_of_one_kind(code, kind):
    """Its result codes, and what it says more of some (https://sqlite.org/rescode.html)."""
    error = sqlite3.OperationalError("x")
    error.sqlite_errorcode = getattr(sqlite3, code)
    assert trouble_of(OperationalError(None, None, error)).value == kind


def test_a_command_tells_trouble_in_words(server, monkeypatch):
    """Not as a traceback, whatever was asked for; and no key is made for nothing."""
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0.1)
    where = ("--db", server.settings.db_url, "--key-file", str(server.settings.key_file))
    holder = sqlite3.connect(server.settings.db_url.removeprefix("sqlite:///"))
    holder.execute("BEGIN IMMEDIATE")
    for words in (["credential", "add", "--role", "service", "x"], ["keys", "rotate"]):
        run = CliRunner().invoke(command, [*words, *where])
        assert isinstance(run.exception, TallyError), run.exception
        assert run.exception.what == "The database is locked by somebody else."
    holder.rollback()
    holder.close()
    assert keys.load(server.settings.key_file).key_ids == ("k1",)


def test_a_key_file_is_written_as_a_whole_or_not(tmp_path):
    with small_disk(tmp_path, 1024) as disk:
        path = disk / "server.keys"
        keys.load_or_create(path)
        before, filler = path.read_bytes(), fill(disk)
        for act in (keys.add_encryption_key, lambda at: keys.load_or_create(at.with_name("new"))):
            with pytest.raises(KeyFileError, match="No space left"):
                act(path)
        assert path.read_bytes() == before
        assert sorted(disk.iterdir()) == sorted([filler, path])


def test_files_run_out(house, caplog, monkeypatch):
    """Connections that get none are closed before anybody sees a request. Told once. No server
    runs beside it, whose own watch would tell it as well."""
    database = house.state.database
    watch = GroundWatch(database, probe.WriteProbe(database), house.clock, background=False)
    told = []
    for most in (10_000, 12, 12, 10_000, 12):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, most=most: (most, most))
        caplog.clear()
        watch.look()
        told.append([m for m in caplog.messages if "of 12 files are open" in m])
    assert [len(one) for one in told] == [0, 1, 0, 0, 1]
    database.close()


def row(fault, people, doctor, log, metric, todo) -> None:
    compare(GroundRow(fault, people, doctor, log, metric, todo))


def test_the_disk_is_read_only(on_disk, server):
    """As a machine comes up after an error of its disk: what was written is there."""
    disk, settings, seed = on_disk
    with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert verify(client, server, seed, 1).json()["reason"] == "ok"
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        found = finding(settings, "database")
        with pytest.raises(TallyError) as told, opened(settings):
            pass
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert verify(client, server, seed, 1).json()["reason"] == "replayed"
        assert verify(client, server, seed, 2).json()["reason"] == "ok"
    row(
        "disk read-only at the start", "nothing is served", found, told.value.what, "`up` is 0",
        "Look at the kernel's log, mend the disk, mount it anew, start the server.",
    )  # fmt: skip


@contextmanager
def no_file_grows(size: int) -> Iterator[None]:
    """Writes behind this size fail, and not for want of room: as on a disk that has an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_disk_fails(server, caplog, well_no_longer):
    """The kernel makes a disk read-only that has an error, under whoever has its files open."""
    seed = server.card()
    path = Path(server.settings.db_url.removeprefix("sqlite:///"))
    with (
        running_in_thread(server.settings) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert verify(client, server, seed, 0).json()["reason"] == "ok"
        before = trouble("failing")
        with no_file_grows(path.with_name(f"{path.name}-wal").stat().st_size):
            answer = verify(client, server, seed, 1)
            found = finding(server.settings, "writing")
            assert health(client) == 503
        assert trouble("failing") > before and answer.headers["retry-after"] == "60"
        assert verify(client, server, seed, 1).json()["reason"] == "ok"  # by itself
        assert verify(client, server, seed, 0).json()["reason"] == "replayed"
    row(
        "disk fails while the server runs", said(answer), found, logged(caplog, "The disk"),
        '`tally_database_trouble_total{kind="failing"}`',
        "Look at the kernel's log, mend the disk, mount it anew, start the server.",
    )  # fmt: skip


def test_the_disk_is_full_when_a_new_version_comes(on_disk, server):
    disk, settings, seed = on_disk
    database = Database(settings.db_url)
    with database.read() as connection:
        factors = connection.execute(select(CardRow.moving_factor)).scalars().all()
    schema.migrate(database, "0018", keys.load(settings.key_file))
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
    with pytest.raises(TallyError) as told, opened(settings):
        pass
    found = finding(settings, "disk")
    with database.read() as connection:
        assert schema.revision(connection) == "0018"
        assert connection.execute(select(CardRow.moving_factor)).scalars().all() == factors
    database.close()
    (disk / "filler").unlink()
    with running_in_thread(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert verify(client, server, seed, 1).json()["reason"] == "ok"
    row(
        "disk full when a new version comes", "nothing is served", found, told.value.what,
        "`up` is 0", "Make room. The database is as it was; the server starts by itself.",
    )  # fmt: skip


def test_the_database_is_locked_by_another(server, monkeypatch, caplog, well_no_longer):
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 1)
    seed = server.card()
    with (
        running_in_thread(server.settings) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        before = trouble("locked")
        holder = sqlite3.connect(server.settings.db_url.removeprefix("sqlite:///"))
        holder.execute("BEGIN IMMEDIATE")
        answer = verify(client, server, seed, 0)
        found = finding(server.settings, "writing")
        assert health(client) == 503
        holder.rollback()
        holder.close()
        assert trouble("locked") > before and int(answer.headers["retry-after"]) == 2
        # What was not judged in time may have been judged since.
        assert verify(client, server, seed, 0).json()["reason"] in ("ok", "replayed")
        assert verify(client, server, seed, 1).json()["reason"] == "ok"
    row(
        "database locked by a back-up of another's", f"after some seconds, {said(answer)}", found,
        logged(caplog, "The database is locked"),
        '`tally_database_trouble_total{kind="locked"}`',
        "Copy with `tally server backup`, which does not lock.",
    )  # fmt: skip


def health(client: httpx.Client) -> int:
    return client.get("/v1/health").status_code


@pytest.fixture
def well_no_longer(monkeypatch):
    """What was well a moment ago is looked at again."""
    monkeypatch.setattr(probe, "FRESH_S", 0.0)


def test_a_database_that_took_nothing_is_not_well_a_moment_later(server, monkeypatch):
    database, asked = Database(server.settings.db_url), []
    well = iter([False, False, True])

    def take(_database: Database) -> None:
        asked.append(1)
        if not next(well):
            raise OperationalError(None, None, sqlite3.OperationalError("x"))

    monkeypatch.setattr(probe, "must_take_writes", take)
    monkeypatch.setattr(probe, "FRESH_S", 3600.0)
    prober = probe.WriteProbe(database)
    for _ in range(2):
        with pytest.raises(OperationalError):
            prober.check()
    for _ in range(3):
        prober.check()
    assert len(asked) == 3
    database.close()


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_of_the_database_goes_away(server, caplog, well_no_longer, end, replaced):
    """Whoever writes into it goes on to do so, and nobody ever reads it: nothing is accepted."""
    seed = server.card()
    path = Path(server.settings.db_url.removeprefix("sqlite:///"))
    file, kept = path.with_name(path.name + end), path.with_name("kept")
    monitor = add_credential(server.settings, "monitor", "prometheus")
    headers = {"authorization": f"Bearer {monitor.token.reveal().decode()}"}
    with (
        running_in_thread(server.settings) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert verify(client, server, seed, 0).json()["reason"] == "ok" and health(client) == 200
        assert client.get("/v1/metrics", headers=headers).status_code == 200
        if replaced:
            shutil.copy(file, kept)
            copy = path.with_name("copy")
            shutil.copy(file, copy)
            file.rename(kept)
            copy.rename(file)
        else:
            file.rename(kept)
        before = trouble("gone")
        answer = verify(client, server, seed, 1)
        assert health(client) == 503 and trouble("gone") > before
        told = client.get("/v1/metrics", headers=headers)
        assert told.status_code == 200 and 'trouble_total{kind="gone"}' in told.text
        for token in ("x", server.service.token.reveal().decode()):  # they could not before
            other = client.get("/v1/metrics", headers={"authorization": f"Bearer {token}"})
            assert other.status_code == 503 and "tally_" not in other.text
        found = finding(server.settings, "database") if not (end or replaced) else ""
        assert file.exists() == replaced  # whoever looks makes none
        kept.rename(file)  # put back, it goes on
        assert verify(client, server, seed, 1).json()["reason"] == "ok" and health(client) == 200
        assert verify(client, server, seed, 0).json()["reason"] == "replayed"
    assert answer.status_code == 503
    if found:
        row(
            "database file removed or replaced under the server", said(answer), found,
            logged(caplog, "A file"), '`tally_database_trouble_total{kind="gone"}`',
            "Put the file back: the server goes on. Or stop it, and restore a backup.",
        )  # fmt: skip


def test_what_was_committed_into_a_file_that_has_gone_is_not_acknowledged(server):
    """Removed between its begin and its commit."""
    server.card()
    path = Path(server.settings.db_url.removeprefix("sqlite:///"))
    database = Database(server.settings.db_url)
    told: list = []
    database.listen(told.append)
    with pytest.raises(OperationalError) as error, database.write():
        path.rename(path.with_name("kept"))
    assert trouble_of(error.value).value == "gone" and not told
    path.with_name("kept").rename(path)
    database.close()


def test_a_trouble_is_told_when_it_begins_and_when_it_is_over(server, caplog, monkeypatch):
    """Not with each request: the log would hold nothing else."""
    database = Database(server.settings.db_url)
    locked = OperationalError(None, None, sqlite3.OperationalError("x"))
    locked.orig.sqlite_errorcode = sqlite3.SQLITE_BUSY
    fails = iter([False, True, True, False, False, True])

    looked = probe.WriteProbe(database)

    def check(asked: probe.WriteProbe) -> None:
        if asked is looked and next(fails):  # the server's own watch looks, too
            raise locked

    monkeypatch.setattr(probe.WriteProbe, "check", check)
    watch = GroundWatch(database, looked, server.clock, background=False)
    told = []
    for _ in range(6):
        caplog.clear()
        watch.look()
        # Of the server that is starting beside this, there are others.
        said = [record for record in caplog.records if record.name.startswith("tallystick.")]
        told.append([record.getMessage()[:28] for record in said])
    begins, ends = ["The database is locked by so"], ["The database takes what is w"]
    assert told == [[], begins, [], ends, [], begins]
    database.close()


def test_a_start_on_an_empty_database_with_old_keys_is_told(server, caplog, tmp_path):
    empty = replace(server.settings, db_url=f"sqlite:///{tmp_path / 'not-mounted.db'}")
    assert finding(empty, "database").startswith("bad: database: empty, but")
    assert not (tmp_path / "not-mounted.db").exists()
    with opened(empty):
        pass
    assert "was it removed" in logged(caplog, "the database is empty")


def test_the_key_file_is_missing(server):
    server.card()
    settings = replace(server.settings, key_file=server.folder / "none.keys")
    with pytest.raises(KeyFileError) as told, opened(settings):
        pass
    assert not settings.key_file.exists()
    found = finding(settings, "encrypted values")
    row(
        "key file missing", "nothing is served", found, plain(told.value.what), "`up` is 0",
        "Put the copy of the key file back. Nothing can be read without it.",
    )  # fmt: skip


def test_the_key_file_is_of_another_server(server):
    server.card()
    other = server.folder / "other.keys"
    keys.load_or_create(other)
    settings = replace(server.settings, key_file=other)
    with pytest.raises(KeyFileError) as told:
        open_state(settings)
    found = finding(settings, "encrypted values")
    assert "not checkable" in finding(settings, "audit log")  # nobody has changed it
    row(
        "key file of another server", "nothing is served", found, told.value.what, "`up` is 0",
        "Name the right one. Nothing was stored under the wrong keys.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "seconds", "todo"),
    [
        (
            "clock an hour back",
            -3600,
            "Set it right. Pauses after wrong codes, and sessions, last longer.",
        ),
        ("clock a year forward", 365 * 86400, "Set it right. People sign in anew."),
    ],
)
def test_the_clock_is_wrong(server, fault, seconds, todo, caplog):
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    where = "back" if seconds < 0 else "forward"
    database = Database(server.settings.db_url)
    prober = probe.WriteProbe(database)
    running, started = (
        GroundWatch(database, prober, server.clock, steady=lambda: 0.0, background=False)
        for _ in range(2)
    )
    running.look()
    before = metric("tally_clock_faults_total", where=where)
    server.clock.advance(seconds)
    running.look()
    words = logged(caplog, "the clock has gone")
    started.look()  # a server that is started now reads it from the audit log
    assert "the newest entry of the audit log" in logged(caplog, "the clock is")
    assert metric("tally_clock_faults_total", where=where) == before + 2
    running.look()
    assert metric("tally_clock_faults_total", where=where) == before + 2  # told once
    database.close()
    found = finding(server.settings, "clock")
    reasons = [server.reason(hotp(seed, factor, 6)) for factor in (0, 1, 1)]
    assert reasons == ["replayed", "ok", "replayed"]
    # Entries that were written since fit a clock that is ahead, and it is told all the same.
    ran = finding(server.settings, "clock")
    behind = ran.startswith("bad: clock: 1.0 hours behind")
    assert behind if seconds < 0 else "365 days without an entry of the audit log" in ran
    server.clock.advance(-seconds)
    assert [server.reason(hotp(seed, n, 6)) for n in (1, 2)] == ["replayed", "ok"]
    row(
        fault, "codes of cards are judged as ever; those of apps are wrong", found, words,
        f'`tally_clock_faults_total{{where="{where}"}}`', todo,
    )  # fmt: skip


def test_a_log_that_nobody_wrote_to_for_ten_days_tells_nothing_of_the_clock(server):
    seed = server.card()
    server.clock.advance(10 * 86400)
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    assert finding(server.settings, "clock") == "ok: clock: fits the audit log"


def test_a_session_outlives_a_clock_that_goes_back(portal):
    portal.person("boss", "administrator")
    browser = portal.browser().sign_in("boss")
    portal.clock.advance(-3600)
    assert browser.get("/").heading == "My account"
    portal.clock.advance(3600)
    assert browser.get("/").heading == "My account"


def sending(server, url: str, caplog) -> str:
    """What the log says of a message that does not go out. It stays, and the next one goes."""
    before = metric("tally_messages_total", channel="email", outcome="failed")
    with opened(server.settings) as parts:
        with parts.database.write() as connection:
            letter = Letter("ann@example.org", "s", "t")
            message = outbox.post(
                connection, parts.ring, firm_id=1, channel=outbox.EMAIL, letter=letter,
                now=server.clock(),
            )  # fmt: skip
        way = {outbox.EMAIL: gateway_from(url, sender="a@b.example")}
        sender = Outbox(parts.database, parts.ring, way, server.clock, background=False)
        sender.send_due()
        with parts.database.write() as connection:
            row = connection.execute(select(MessageRow)).one()
            assert (row.id, row.tries) == (message, 1) and row.due_at > server.clock()
    assert metric("tally_messages_total", channel="email", outcome="failed") == before + 1
    return logged(caplog, "a message by email")


METRIC = '`tally_messages_total{outcome="failed"}`'


def test_names_are_not_found(server, caplog):
    url = "smtp://mail.nowhere.invalid"
    settings = replace(server.settings, smtp=url)
    row(
        "DNS gone", "no message comes; it is tried again until the code is over",
        finding(settings, "mail server"), sending(server, url, caplog), METRIC,
        "Mend DNS of the server's machine.",
    )  # fmt: skip


class SilentServer(threading.Thread):
    """Takes connections and says nothing."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def run(self) -> None:
        held = []
        while True:
            try:
                held.append(self.sock.accept())
            except OSError:
                return


def test_a_gateway_hangs(server, monkeypatch, caplog):
    monkeypatch.setattr(gateways, "TIMEOUT_S", 0.5)
    silent = SilentServer()
    silent.start()
    url = f"smtp://127.0.0.1:{silent.port}"
    try:
        words, found = (
            sending(server, url, caplog),
            finding(replace(server.settings, smtp=url), "mail server"),
        )
    finally:
        silent.sock.close()
    row(
        "gateway hangs", "no message comes; checks and pages go on", found, words, METRIC,
        "Ask whoever runs the gateway.",
    )  # fmt: skip


def test_the_certificate_of_the_mail_server_is_over(server, tmp_path, caplog):
    cert, key = certificate_for(tmp_path, days=-1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    sock = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def work() -> None:
        while not closing.is_set():
            try:
                taken, _ = sock.accept()
                with taken, context.wrap_socket(taken, server_side=True):
                    pass
            except OSError:
                continue

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    trusted = ssl.create_default_context(cafile=str(cert))
    url = f"smtps://localhost:{sock.getsockname()[1]}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ssl, "create_default_context", lambda *_a, **_k: trusted)
            words = sending(server, url, caplog)
            found = finding(replace(server.settings, smtp=url), "mail server")
    finally:
        closing.set()
        sock.close()
        thread.join(10)
    row(
        "certificate of the mail server expired", "no message comes", found, plain(words), METRIC,
        "A new certificate there. The server never sends without checking it.",
    )  # fmt: skip


def limited(files: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def test_1024_open_files(tmp_path, container_class, capfd, monkeypatch):
    """More connections than a process may have files: those beyond wait, or get 503; afterwards
    all is as before."""
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    seed = os.urandom(20)
    live = start(settings)
    held = []
    try:
        resource.prlimit(live.process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        body = {"user": "S1", "code": hotp(seed, 0, 6)}
        host, port = live.url.removeprefix("http://").split(":")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
        monitor = add_credential(settings, "monitor", "prometheus")
        watching = {"authorization": f"Bearer {monitor.token.reveal().decode()}"}
        for _ in range(930):
            held.append(socket.create_connection((host, int(port)), timeout=60))
        with httpx.Client(base_url=live.url, timeout=60) as client:
            while (full := client.get("/v1/health")).status_code == 200:
                pass  # those that were held are not all taken yet
            # Who watches is told.
            told = client.get("/v1/metrics", headers=watching)
        assert full.status_code == 503 and told.status_code == 200
        files = re.search(r"^process_open_fds (.*)$", told.text, re.MULTILINE)
        assert files is not None and float(files[1]) > 800  # the alert's bound
        (tmp_path / "cgroup.procs").write_text(f"{live.process.pid}\n{2**22 + 1}\n")
        monkeypatch.setattr(doctor, "UNIT", tmp_path)  # as systemd has it
        found = finding(settings, "open files")
        assert re.search(r"bad: open files: 9\d\d of 1024 that a process", found)
        found = re.sub(r"9\d\d of", "9… of", found)
        for _ in range(270):
            held.append(socket.create_connection((host, int(port)), timeout=60))
        with httpx.Client(base_url=live.url, headers=service, timeout=60) as client:
            first = None
            with contextlib.suppress(httpx.HTTPError):
                first = client.post("/v1/verify", json=body).status_code
            for one in held:
                one.close()
            answer = client.post("/v1/verify", json=body)
            while answer.status_code == 503:
                answer = client.post("/v1/verify", json=body)
            assert answer.json()["reason"] in ("ok", "replayed")
            assert first in (None, 200, 503)
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        live.stop()
    assert "Exceeded concurrency limit." in capfd.readouterr().err
    row(
        "1,024 open files",
        "503 from 900 connections of a worker on; beyond 1,024 one waits, or is closed",
        found, "Exceeded concurrency limit.", "`process_open_fds`",
        "`LimitNOFILE=4096`, as the unit has it; the server takes what its hard limit gives.",
    )  # fmt: skip


def test_the_memory_limit_is_reached(tmp_path, container_class, capfd, monkeypatch):
    """What the kernel does then: it ends a worker. The parent starts another, and what was
    acknowledged is there."""
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    seed = os.urandom(20)
    live = start(settings, workers=2)
    try:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        children = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children")
        with httpx.Client(base_url=live.url, headers=service, timeout=60) as client:
            body = {"user": "S1", "code": hotp(seed, 0, 6)}
            assert client.post("/v1/verify", json=body).json()["reason"] == "ok"
        workers = children.read_text().split()
        for worker in workers:
            os.kill(int(worker), signal.SIGKILL)
        with httpx.Client(base_url=live.url, headers=service, timeout=60) as client:
            # The socket is the parent's: what comes meanwhile waits in it.
            assert client.post("/v1/verify", json=body).json()["reason"] == "replayed"
            monitor = add_credential(settings, "monitor", "prometheus")
            watching = {"authorization": f"Bearer {monitor.token.reveal().decode()}"}
            told = client.get("/v1/metrics", headers=watching).text
        assert re.search(r"^tally_workers_ended_total 2", told, re.MULTILINE)
        assert re.search(r"^process_open_fds [1-9]", told, re.MULTILINE)  # of several workers, too
        assert not set(workers) & set(children.read_text().split())
    finally:
        live.stop()
    (tmp_path / "memory.events").write_text("low 0\noom 5\noom_kill 2\n")
    monkeypatch.setattr(doctor, "UNIT", tmp_path)  # as the kernel counts where it did it
    found = finding(settings, "memory")
    said = capfd.readouterr().err
    assert f"worker {workers[0]} ended with 9" in said
    row(
        "memory limit reached (SIGKILL)", "requests of that worker break off; others wait a second",
        found, "worker N ended with 9; another one takes its place", "`tally_workers_ended_total`",
        "Give more (`--memory`), or fewer workers.",
    )  # fmt: skip


def test_the_kernel_ends_a_worker_for_want_of_memory(tmp_path, container_class, capfd):
    """As above, but nobody sends a signal: passwords are hashed (64 MiB each) by workers that may
    take less. Others are answered, and what was acknowledged is there."""
    settings = settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys")
    seed = os.urandom(20)
    live = start(settings, workers=2)
    try:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        body = {"user": "S1", "code": hotp(seed, 0, 6)}
        url = live.url.replace("127.0.0.1", "localhost")
        with httpx.Client(base_url=live.url, headers=service, timeout=60) as client:
            assert client.post("/v1/verify", json=body).json()["reason"] == "ok"
        children = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children")
        workers = children.read_text().split()
        with bounded_memory(workers, 48 * 1024**2) as killed, httpx.Client(timeout=60) as browser:
            page = browser.get(f"{url}/p/default/sign-in").text
            csrf = re.search(r'name="csrf" value="([^"]+)"', page)
            form = {"login": "ann", "password": "x" * 12, "csrf": csrf[1] if csrf else ""}
            with pytest.raises(httpx.HTTPError):  # its connection breaks off
                browser.post(f"{url}/p/default/sign-in", data=form, headers={"origin": url})
            assert killed() == 1
        with httpx.Client(base_url=live.url, headers=service, timeout=60) as client:
            assert client.post("/v1/verify", json=body).json()["reason"] == "replayed"
            assert client.post("/v1/verify", json=body | {"code": hotp(seed, 1, 6)}).json()[
                "accepted"
            ]
    finally:
        live.stop()
    assert re.search(
        r"worker \d+ ended with 9; another one takes its place", capfd.readouterr().err
    )


STARTS_S = 600.0  # on a machine whose cores are taken by others
KILLS = int(os.environ.get("TALLY_KILLS", "8"))


@pytest.mark.timeout(300 + 30 * KILLS)  # two hundred take longer than any other test may
@pytest.mark.parametrize("kills", [KILLS])
def test_power_cuts(tmp_path, container_class, kills, capfd):
    """kill -9 at a random moment under load; with TALLY_KILLS=200, as often as that."""
    seeds = seeds_of_four()
    live = start(settings_from(f"sqlite:///{tmp_path / 's.db'}", tmp_path / "s.keys"))
    try:
        service = enrol(live, container_class, tmp_path, seeds)
        users = [User(name, seed, service) for name, seed in seeds.items()]
        for _ in range(kills):
            crash_under_load(live, users, live.kill)
            live = start(live.settings, port=int(live.url.rsplit(":", 1)[1]))
            httpx.get(f"{live.url}/v1/health", timeout=STARTS_S).raise_for_status()
            nothing_lost(live.url, users)
        with opened(live.settings) as parts, parts.database.read() as connection:
            assert all(r.broken_at is None for r in audit.check(connection, parts.ring))
        found = finding(live.settings, "durability")
    finally:
        live.stop()
    words = "the database was not closed (killed, a power cut, or another process has it open)"
    assert capfd.readouterr().err.count(words) == kills
    row(
        "power cut (kill -9)", "requests under way break off", found, words,
        "`process_start_time_seconds`, `up` was 0",
        "Nothing: it starts by itself.",
    )  # fmt: skip
