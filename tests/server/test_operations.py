"""Backup and restore, key rotation, doctor, metrics, logs: on a server that is in use."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import secrets
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select, text

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.server.operating import operations
from tallystick.server.operating.cli import server as command
from tallystick.server.operating.doctor import examine
from tallystick.server.rules.otp import hotp
from tallystick.server.serving import logs
from tallystick.server.serving.running import add_credential, running_in_thread
from tallystick.server.settings import settings_from
from tallystick.server.store import keys, restored
from tallystick.server.store.database import Database
from tallystick.server.store.keys import KeyFileError
from tallystick.server.store.models import CardRow
from tallystick.server.store.opened import opened


def ask(url: str, service, code: str) -> str:
    headers = {"authorization": f"Bearer {service.token.reveal().decode()}"}
    body = {"user": "ann", "code": code}
    return httpx.post(f"{url}/v1/verify", json=body, headers=headers, timeout=60).json()["reason"]


@pytest.mark.parametrize("newer", [False, True])
def test_codes_used_after_a_backup_do_not_work_after_its_restore(server, tmp_path, newer):
    seed = server.card()
    assert server.reason(hotp(seed, 0, 6)) == "ok"
    copy = tmp_path / "backup.db"
    with opened(server.settings) as parts:
        operations.backup(parts.database, copy)
    assert copy.stat().st_mode & 0o077 == 0
    for factor in range(1, 4):
        assert server.reason(hotp(seed, factor, 6)) == "ok"
    lost = tmp_path / "lost.db"
    with opened(server.settings) as parts:
        operations.backup(parts.database, lost)
    back = replace(server.settings, db_url=f"sqlite:///{tmp_path / 'new.db'}")
    database = Database(back.db_url)
    done = operations.restore(
        database,
        copy,
        ring=keys.load(back.key_file),
        advance=10,
        newer=lost if newer else None,
        now=server.clock(),
    )
    assert done == {"cards": 1, "counters_from_newer": int(newer)}
    with database.write() as connection:
        restored.confirm(connection, keys.load(back.key_file), server.clock(), "console")
    database.close()
    with running_in_thread(back) as url:
        for factor in range(4):
            assert ask(url, server.service, hotp(seed, factor, 6)) != "ok"
        next_one = 4 if newer else 11
        assert ask(url, server.service, hotp(seed, next_one, 6)) == "ok"
    assert all(f.state != "bad" for f in examine(back))


def test_a_later_copy_that_is_an_earlier_one_takes_no_counter_back(server, tmp_path):
    seed = server.card()
    copies = [tmp_path / "earlier.db", tmp_path / "backup.db"]
    for factor, copy in enumerate(copies):
        assert server.reason(hotp(seed, factor, 6)) == "ok"
        with opened(server.settings) as parts:
            operations.backup(parts.database, copy)
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    ring = keys.load(server.settings.key_file)
    operations.restore(
        database, copies[1], ring=ring, advance=0, newer=copies[0], now=server.clock()
    )
    with database.read() as connection:
        assert connection.execute(select(CardRow.moving_factor)).scalar_one() == 2
    database.close()


def test_a_card_that_was_registered_again_has_the_counter_of_its_own_row():
    """Its tombstone, of when it was deleted, is older."""
    later = {"tombstone": [(b"seed", 1, "A1", 3)], "card": [(b"seed", 1, "A1", 9)]}
    counters = operations._counters_of(lambda query: later[query.split(" FROM ")[1]])
    assert counters == {b"seed": 9, (1, "A1"): 9}


def test_a_card_that_was_deleted_meanwhile_has_the_counter_of_its_tombstone():
    """It is in the backup, and comes back with it."""
    later = {"tombstone": [(b"gone", 1, "B1", 7)], "card": [(b"seed", 1, "A1", 9)]}
    counters = operations._counters_of(lambda query: later[query.split(" FROM ")[1]])
    assert counters == {b"gone": 7, (1, "B1"): 7, b"seed": 9, (1, "A1"): 9}


def test_a_backup_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(
    server, tmp_path, monkeypatch
):
    copy, synced, sync = tmp_path / "backup.db", [], os.fsync

    def note(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, copy.exists()))
        sync(descriptor)

    with opened(server.settings) as parts:
        monkeypatch.setattr(os, "fsync", note)
        operations.backup(parts.database, copy)
    assert synced == [(copy.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_backup_replaces_nothing_and_a_restore_neither(server, tmp_path):
    copy = tmp_path / "backup.db"
    with opened(server.settings) as parts:
        operations.backup(parts.database, copy)
        with pytest.raises(BadInputError, match="exists"):
            operations.backup(parts.database, copy)
        with pytest.raises(RefusedError, match="not empty"):
            operations.restore(parts.database, copy, ring=parts.ring, advance=0, newer=None, now=0)
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(BadInputError, match="not an SQLite"):
        operations.restore(
            database, server.settings.key_file, ring=None, advance=0, newer=None, now=0
        )
    database.close()


def test_keys_rotate_while_codes_are_verified(server):
    seed = server.card()
    reasons: list[str] = []
    rotated = threading.Event()

    def use() -> None:
        factor = 0
        while not rotated.is_set() or factor < 20:
            reasons.append(server.reason(hotp(seed, factor, 6)))
            factor += 1

    user = threading.Thread(target=use)
    user.start()
    with opened(server.settings) as parts:
        for _ in range(3):
            operations.rotate(parts.database, server.settings.key_file, now=server.clock())
    # A card that is registered now is under the newest key, though nobody told the server.
    other = secrets.token_bytes(20)
    assert server.register(server.container().add("N1", other)).status_code == 201
    rotated.set()
    user.join()
    assert set(reasons) == {"ok"}
    with opened(server.settings) as parts:
        with parts.database.read() as connection:
            assert set(operations.use_of_keys(connection)) == {"k4"}
        for old in ("k1", "k2", "k3"):
            operations.retire_key(parts.database, server.settings.key_file, old, now=server.clock())
        with pytest.raises(RefusedError, match="k4"):
            operations.retire_key(
                parts.database, server.settings.key_file, "k4", now=server.clock()
            )
    assert server.reason(hotp(seed, len(reasons), 6)) == "ok"
    assert server.register(server.container().add("N2", secrets.token_bytes(20))).is_success


def test_a_copy_is_made_while_others_write_all_the_time(server, tmp_path, monkeypatch):
    """Here between any two pieces of it: a copy that begins anew then comes to no end."""
    path = server.settings.db_url.removeprefix("sqlite:///")
    writes = 0
    with opened(server.settings) as parts, closing(sqlite3.connect(path)) as writer:
        writer.execute("CREATE TABLE filling (what BLOB)")
        writer.executemany("INSERT INTO filling VALUES (?)", [(bytes(3000),)] * 3000)
        writer.commit()

        def write(_status: int, _left: int, _pages: int) -> None:
            nonlocal writes
            writes += 1
            assert writes < 100, "it begins anew each time"
            writer.execute("INSERT INTO filling VALUES (NULL)")
            writer.commit()

        class Watched(sqlite3.Connection):
            def backup(self, target: sqlite3.Connection, **how: int) -> None:
                super().backup(target, progress=write, **how)

        monkeypatch.setattr(
            operations.sqlite3, "connect", partial(sqlite3.connect, factory=Watched)
        )
        operations.backup(parts.database, tmp_path / "copy.db")
        monkeypatch.undo()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        filled = copy.execute("SELECT count(*) FROM filling WHERE what NOTNULL")
        assert filled.fetchone() == (3000,)


def test_doctor_finds_what_is_wrong(server, tmp_path):
    server.card()
    found = {f.name: f.state for f in examine(server.settings)}
    assert found["key file"] == found["database"] == found["audit log"] == "ok"
    assert found["keys and database"] == "note"  # these lie in one folder
    assert found["encrypted values"] == found["durability"] == "ok"
    server.settings.key_file.chmod(0o644)
    assert {f.name: f.state for f in examine(server.settings)}["key file"] == "bad"
    other = tmp_path / "other.keys"
    keys.load_or_create(other)
    keys.add_encryption_key(other)
    keys.remove_encryption_key(other, "k1")
    wrong = replace(server.settings, key_file=other, smtp="smtp://127.0.0.1:1")
    found = {f.name: f.state for f in examine(wrong)}
    assert found["encrypted values"] == found["audit log"] == found["mail server"] == "bad"


def test_doctor_says_what_would_stop_the_start(server, tmp_path):
    """Whatever `tally server run` refuses is bad to the doctor, too."""
    server.card()  # it has started
    with opened(server.settings) as parts, parts.database.write() as connection:
        restored.note(connection, {}, server.clock())
    (tmp_path / "none").mkdir()
    wrong = replace(
        server.settings,
        breach_list=tmp_path / "none",
        key_metadata=(tmp_path / "none", tmp_path / "none"),
        request_log=tmp_path / "none",
    )
    found = {f.name: f for f in examine(wrong)}
    for name in ("restore", "breach list", "metadata of security keys", "request log"):
        assert found[name].state == "bad", name
    assert "confirm-restore" in found["restore"].detail
    with opened(server.settings) as parts, parts.database.write() as connection:
        restored.confirm(connection, parts.ring, server.clock(), "console")
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    (tmp_path / "list").write_text(f"{'0' * 40}\n")
    right = replace(
        server.settings, breach_list=tmp_path / "list", request_log=tmp_path / "requests.log"
    )
    found = {f.name: f for f in examine(right)}
    for name in ("restore", "breach list", "request log"):
        assert found[name].state == "ok", name
    assert found["database"].state == "bad" and "newer" in found["database"].detail
    assert not (tmp_path / "requests.log").exists()


def test_doctor_on_an_empty_database(tmp_path):
    settings = settings_from(f"sqlite:///{tmp_path / 'new.db'}")
    found = list(examine(settings))
    assert {f.name: f.state for f in found}["keys and database"] == "ok"
    assert settings.key_file.parent != tmp_path and not settings.key_file.exists()
    assert all(finding.state != "bad" for finding in found)
    assert found[0].detail.startswith("empty")


def test_each_database_has_keys_of_its_own_apart_from_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    urls = [None, f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b' / 'a.db'}"]
    files = {settings_from(url).key_file for url in urls}
    assert len(files) == len(urls)
    assert {file.parent for file in files} == {tmp_path / "config" / "tallystick"}
    beside = tmp_path / "a.keys"  # as an older version made it
    keys.load_or_create(beside)
    assert settings_from(urls[1]).key_file == beside


def test_a_database_in_use_gets_no_new_keys(tmp_path):
    db, first = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "first.keys"
    with opened(settings_from(db, first)):
        pass
    other = settings_from(db, tmp_path / "other.keys")
    with pytest.raises(KeyFileError, match="in use") as error, opened(other):
        pass
    assert "--key-file" in error.value.todo
    assert not other.key_file.exists()


def test_the_commands(server, tmp_path):
    db = ["--db", server.settings.db_url]
    runner = CliRunner()
    run = lambda *words: runner.invoke(command, [*words])  # noqa: E731
    findings = json.loads(run("doctor", *db, "--json").stdout)
    # The database was written at the tests' time, and a command has the machine's.
    assert [one for one in findings if one["state"] == "bad" and one["name"] != "clock"] == []
    assert json.loads(run("audit", "check", *db, "--json").stdout)
    assert run("backup", str(tmp_path / "b.db"), *db).exit_code == 0
    assert json.loads(run("keys", "rotate", *db, "--json").stdout)["key"] == "k2"
    listed = json.loads(run("keys", "list", *db, "--json").stdout)
    assert [one["active"] for one in listed] == [False, True]
    assert run("keys", "retire", "k1", *db).exit_code == 0
    assert run("firm", "add", "acme", *db).exit_code == 0
    policy = json.loads(run("firm", "policy", "acme", *db).stdout)
    assert policy["recommended_methods"] == 2
    shown = json.loads(run("person", "add", "ann", "--firm", "acme", *db, "--json").stdout)
    assert shown["path"] == "/p/acme/recover/help"
    shutil.copy(server.settings.key_file, tmp_path / "r.keys")
    restored = run(
        "restore", str(tmp_path / "b.db"), "--db", f"sqlite:///{tmp_path / 'r.db'}", "--json"
    )
    # The backup was made under k1, which is forgotten: the audit entry can still be written, and
    # the doctor says what is missing.
    assert restored.exit_code == 0, restored.output
    assert run("doctor", "--db", f"sqlite:///{tmp_path / 'r.db'}").exit_code == 1


def test_metrics_are_for_monitors(server):
    seed = server.card()
    server.verify(hotp(seed, 0, 6))
    monitor = add_credential(server.settings, "monitor", "prometheus")
    text = server.get("/v1/metrics", monitor).text
    assert 'tally_checks_total{reason="ok"}' in text
    assert "tally_batch_seconds_bucket" in text
    for who in (server.station, server.service):
        assert server.get("/v1/metrics", who).status_code == 403
    assert server.get("/v1/cards/1000000001", monitor).status_code == 403


def formatted(formatter: logging.Formatter, message: str) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError(message)
    except ValueError:
        logger.exception("went wrong: %s", message)
    return stream.getvalue()


@given(
    st.one_of(
        st.binary(min_size=16, max_size=64).map(bytes.hex),
        st.builds(lambda: "tally_" + secrets.token_urlsafe(32)),
        st.builds(lambda: secrets.token_urlsafe(32)),
        st.integers(100000, 99999999).map(str),
    )
)
@example("-" + 42 * "a")
@example(42 * "a" + "-")
@example("key_" + 32 * "0f")
def test_logs_hold_no_secrets(secret: str):
    for formatter in (logs.TextFormatter(), logs.JsonFormatter()):
        assert secret not in formatted(formatter, f"the value '{secret}' is bad")


@pytest.mark.parametrize(
    "said",
    [
        "wrong: 123456.", "code:123456", "12345678-", ".123456", "-123456:", "otp=123456, 654321",
        "ABCD-EFGH-2345", "seed JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
    ],
)  # fmt: skip
def test_nor_with_a_full_stop_after_it(said: str):
    assert not re.search(r"\d{6}|[A-Z]{4}", logs.scrub(said)), logs.scrub(said)


@pytest.mark.parametrize(
    "said",
    ["12:05:41.773123 10.0.0.1:18161", "2026-11-30T12:05:41Z [2001:db8::1]:54321", "FAILED-WITH"],
)
def test_times_and_addresses_stay(said: str):
    assert logs.scrub(said) == said


def test_json_logs_are_lines_of_json():
    lines = formatted(logs.JsonFormatter(), "x").splitlines()
    (entry,) = [json.loads(line) for line in lines]
    assert entry["level"] == "error"
    assert "ValueError" in entry["trace"]
