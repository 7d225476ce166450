"""Bring the database to the schema that this version of the server works with."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from tallystick.common.formats import NewerStateError
from tallystick.server.store import trouble
from tallystick.server.store.database import Database, patient
from tallystick.server.store.keys import ServerKeyRing

HEAD = "0019"
MIGRATIONS = Path(__file__).parents[1] / "migrations"
# What they make of nothing, as statements: tools/upkeep/new_database.py.
NEW_SQLITE = MIGRATIONS / "new_sqlite.json"
log = logging.getLogger(__name__)
MIGRATION_LOCK = 0x7461_6C6C_79  # any constant: the name of a PostgreSQL advisory lock


def ensure(database: Database, ring: ServerKeyRing | None = None) -> None:
    """Migrate up to HEAD if needed. Safe when several processes start at once. ring: a database
    with cards in it needs it on the way.

    Raises NewerStateError when the database is of a later version; TallyError where somebody else
    holds it, its disk is full, and so on: then nothing was changed.
    """
    with database.read() as connection:
        if revision(connection) == HEAD:
            return
    try:
        migrate(database, HEAD, ring)
    except DBAPIError as error:
        found = trouble.trouble_of(error)
        if found is trouble.DatabaseTrouble.AWAY:
            raise  # whoever asks says what it means to them
        raise trouble.no_start(found) from None


def migrate(
    database: Database, target: str, ring: ServerKeyRing | None = None, *, anew: bool = False
) -> None:
    """Migrate up or down to a revision (`base` is the empty database), all or nothing. anew: step
    by step, whatever is known of where it ends. Raises NewerStateError."""
    with patient(), database.write() as connection:  # it takes as long as it takes
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": MIGRATION_LOCK})
        current = revision(connection)
        if current is not None and current > HEAD:
            raise NewerStateError("The database", current, HEAD)
        if current is not None and current != target:
            log.warning("the database is brought from form %s to %s: wait", current, target)
        empty = database.is_sqlite and not inspect(connection).get_table_names()
        if empty and target == HEAD and not anew:
            _make(connection)
        else:
            _run(connection, current, target, ring)


def _make(connection: Connection) -> None:
    for statement in json.loads(NEW_SQLITE.read_text(encoding="utf-8")):
        connection.exec_driver_sql(statement)


def revision(connection: Connection) -> str | None:
    """The database's schema revision; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def alembic_config(connection: Connection, ring: ServerKeyRing | None = None) -> Any:
    # Imported here: it costs 0.2 s, and is needed only when there is something to migrate.
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["ring"] = ring
    return config


def _run(
    connection: Connection, current: str | None, target: str, ring: ServerKeyRing | None
) -> None:
    if current == target:
        return
    from alembic import command  # noqa: PLC0415

    down = target == "base" or (current is not None and target < current)
    (command.downgrade if down else command.upgrade)(alembic_config(connection, ring), target)
