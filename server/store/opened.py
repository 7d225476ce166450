"""What the command line needs of the server: its keys and its database, opened and closed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tallystick.server.settings import Settings
from tallystick.server.store import keys, schema
from tallystick.server.store.database import Database
from tallystick.server.store.keys import KeyFileError, ServerKeyRing
from tallystick.server.store.trouble import must_answer

LOST_DATABASE = "was it removed, or is its disk not mounted?"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """Keys and database."""

    ring: ServerKeyRing
    database: Database


@contextmanager
def opened(settings: Settings) -> Iterator[Opened]:
    """Open what the settings name, migrating the database if needed.

    Raises KeyFileError, NewerStateError.
    """
    database = Database(settings.db_url)
    try:
        must_answer(database)
        ring = ring_of(settings, database)
        schema.ensure(database, ring)
        yield Opened(ring, database)
    finally:
        database.close()


def ring_of(settings: Settings, database: Database) -> ServerKeyRing:
    """The keys of a database; made anew for an empty one only. Raises KeyFileError."""
    with database.read() as connection:
        used = schema.revision(connection) is not None
    if settings.key_file.exists():
        if not used:
            log.warning("the database is empty, but there are keys already: %s", LOST_DATABASE)
    elif used:
        raise KeyFileError(
            f"There is no key file {settings.key_file}, but the database is in use.",
            kept="No new key was made: it would read nothing of what is stored.",
            todo="Name the key file that belongs to this database with --key-file.",
        )
    return keys.load_or_create(settings.key_file)
