"""What the command line needs of the server: its keys and its database, opened and closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tallystick.server.settings import Settings
from tallystick.server.store import keys, schema
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing


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
    ring = keys.load_or_create(settings.key_file)
    database = Database(settings.db_url)
    try:
        schema.ensure(database)
        yield Opened(ring, database)
    finally:
        database.close()
