"""The parts of one running server process."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.server import keys, schema
from tallystick.server.database import Database
from tallystick.server.group import Group
from tallystick.server.keys import KeyRing
from tallystick.server.settings import Settings
from tallystick.server.verification import Verifier


@dataclass(frozen=True)
class State:
    """Settings, keys, database and the verification queue."""

    settings: Settings
    ring: KeyRing
    database: Database
    group: Group

    def now(self) -> float:
        return self.settings.clock()

    def close(self) -> None:
        self.group.close()
        self.database.close()


def open_state(settings: Settings) -> State:
    """Load or make the keys, migrate the database, start the verification thread.

    Raises KeyFileError, SchemaError.
    """
    database = Database(settings.db_url)
    ring = keys.load_or_create(settings.key_file)
    schema.ensure(database)
    verifier = Verifier(ring)
    return State(settings, ring, database, Group(database, verifier, settings.clock))
