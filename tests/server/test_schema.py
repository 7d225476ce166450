"""Migrations: up, down, and the same schema as the models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import DBAPIError

from tallystick.common.errors import TallyError
from tallystick.common.formats import NewerStateError
from tallystick.server.store import schema
from tallystick.server.store.database import Database
from tallystick.server.store.models_login import Factor
from tallystick.tools.upkeep import new_database


@pytest.fixture
def database(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    yield database
    database.close()


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_migrations_make_what_the_models_say(database):
    schema.ensure(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Factor.metadata) == []


def test_a_new_database_is_what_the_migrations_make(database, tmp_path):
    """Statement for statement, rows too."""
    assert new_database.text() == schema.NEW_SQLITE.read_text(), (
        "python -m tallystick.tools.upkeep.new_database"
    )
    schema.ensure(database)
    database.close()
    assert new_database.statements_of(tmp_path / "x.db") == new_database.statements()


def test_a_new_database_needs_nothing_that_migrates(tmp_path):
    """A start is to be quick, and small."""
    script = (
        "import sys\nfrom tallystick.server.store import schema\n"
        "from tallystick.server.store.database import Database\n"
        f"schema.ensure(Database({f'sqlite:///{tmp_path}/y.db'!r}))\n"
        "print([name for name in sys.modules if name.startswith('alembic')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_a_half_made_database_is_none(database, monkeypatch, tmp_path):
    """All or nothing: the next start makes it."""
    whole = json.loads(schema.NEW_SQLITE.read_text())
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps([*whole[:20], "CREATE TABLE"]))
    monkeypatch.setattr(schema, "NEW_SQLITE", broken)
    with pytest.raises(DBAPIError):
        schema.ensure(database)
    monkeypatch.undo()
    with database.read() as connection:
        assert inspect(connection).get_table_names() == []
    schema.ensure(database)


def test_down_to_nothing_and_up_again(database):
    schema.ensure(database)
    schema.migrate(database, "base")
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    schema.ensure(database)
    with database.read() as connection:
        assert schema.revision(connection) == schema.HEAD


def test_head_is_the_last_script(database):
    with database.read() as connection:
        script = ScriptDirectory.from_config(schema.alembic_config(connection))
    assert script.get_current_head() == schema.HEAD


def test_a_database_of_the_future_is_left_alone(database):
    schema.ensure(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerStateError, match="9999"):
        schema.ensure(database)


def test_commits_are_durable(database):
    with database.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_the_database_file_is_private(database, tmp_path: Path):
    schema.ensure(database)
    for file in tmp_path.glob("x.db*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_whoever_reads_waits_for_nobody_who_writes(database, monkeypatch):
    monkeypatch.setattr("tallystick.server.store.database.BUSY_TIMEOUT_S", 0.05)
    hurried = Database(str(database.url))
    schema.ensure(hurried)
    with hurried.write() as writing:
        writing.execute(text("UPDATE firm SET policy = 'x'"))
        with hurried.read() as connection, hurried.snapshot() as instant:
            for one in (connection, instant):
                assert one.execute(text("SELECT count(*) FROM firm")).scalar() == 1
                assert one.execute(text("SELECT policy FROM firm")).scalar() != "x"
    hurried.close()


@pytest.mark.parametrize("ground", ["locked", "full"])
def test_a_migration_that_the_ground_does_not_let_is_told_in_words(
    database, tmp_path, monkeypatch, ground
):
    """A large log is brought to a new form in minutes, and by gigabytes."""
    schema.migrate(database, "0017")
    database.close()
    monkeypatch.setattr("tallystick.server.store.database.BUSY_TIMEOUT_S", 0.05)
    again = Database(str(database.url))
    words = "locked by somebody else" if ground == "locked" else "disk .* is full"
    with again.engine.connect() as other:
        if ground == "locked":
            other.connection.driver_connection.execute("BEGIN IMMEDIATE")
        else:
            pages = other.exec_driver_sql("PRAGMA page_count").scalar()
            event.listen(
                again.engine, "connect",
                lambda made, _: made.execute(f"PRAGMA max_page_count = {pages}"),
            )  # fmt: skip
        with pytest.raises(TallyError, match=words) as told:
            schema.ensure(again)
        assert told.value.todo and "Nothing was changed" in told.value.kept
    again.close()
    with database.read() as connection:
        assert schema.revision(connection) == "0017"
    schema.ensure(database)
