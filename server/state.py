"""The parts of one running server process."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.server.accounts.passwords import BreachList, HashListFile, SmallBreachList
from tallystick.server.checking.group import GroupCommit
from tallystick.server.checking.verification import Verifier
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import gateway_from
from tallystick.server.messages.outbox import Outbox
from tallystick.server.settings import Settings
from tallystick.server.store import keys, schema
from tallystick.server.store.database import Database
from tallystick.server.store.keys import ServerKeyRing


@dataclass(frozen=True)
class ServerState:
    """Settings, keys, database and the verification queue."""

    settings: Settings
    ring: ServerKeyRing
    database: Database
    group: GroupCommit
    outbox: Outbox
    breached: BreachList
    public_url: str

    def now(self) -> float:
        return self.settings.clock()

    def close(self) -> None:
        self.group.close()
        self.outbox.close()
        self.database.close()


def open_state(settings: Settings) -> ServerState:
    """Load or make the keys, migrate the database, start the verification thread.

    Raises KeyFileError, NewerStateError.
    """
    database = Database(settings.db_url)
    ring = keys.load_or_create(settings.key_file)
    schema.ensure(database)
    gateways = {
        channel: gateway_from(url, sender=settings.mail_from)
        for channel, url in ((outbox.SMS, settings.sms), (outbox.EMAIL, settings.smtp))
        if url
    }
    return ServerState(
        settings,
        ring,
        database,
        GroupCommit(database, Verifier(ring), settings.clock),
        Outbox(database, ring, gateways, settings.clock),
        HashListFile(settings.breach_list) if settings.breach_list else SmallBreachList(),
        settings.public_url,
    )
