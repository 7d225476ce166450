"""The parts of one running server process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.server.accounts import key_metadata
from tallystick.server.accounts.breached_ranges import BreachedRanges
from tallystick.server.accounts.key_metadata import KeyMetadata
from tallystick.server.accounts.monitors import KnownMonitors
from tallystick.server.accounts.passwords import BreachList, HashListFile, SmallBreachList
from tallystick.server.checking.group import GroupCommit
from tallystick.server.checking.verification import Verifier
from tallystick.server.directory.ldap_directory import LdapDirectory
from tallystick.server.directory.settings import directories_from
from tallystick.server.messages import outbox
from tallystick.server.messages.gateways import Gateway, gateway_from
from tallystick.server.messages.logouts import LogoutSender
from tallystick.server.messages.outbox import Outbox
from tallystick.server.settings import Settings
from tallystick.server.stock.belonging import must_belong
from tallystick.server.store import restored, schema
from tallystick.server.store.database import Database
from tallystick.server.store.housekeeping import Sweeper
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.opened import ring_of
from tallystick.server.store.probe import WriteProbe
from tallystick.server.store.stream import AuditStream, Names, sink_from
from tallystick.server.store.watch import GroundWatch


@dataclass(frozen=True)
class ServerState:
    """Settings, keys, database and the verification queue. directories: by firm."""

    settings: Settings
    ring: ServerKeyRing
    database: Database
    group: GroupCommit
    outbox: Outbox
    logouts: LogoutSender
    breached: BreachList
    public_url: str
    sweeper: Sweeper
    stream: AuditStream
    names: Names
    probe: WriteProbe
    watch: GroundWatch
    metadata: KeyMetadata | None = None
    directories: Mapping[str, LdapDirectory] = field(default_factory=dict)
    monitors: KnownMonitors = field(default_factory=KnownMonitors)

    def now(self) -> float:
        return self.settings.clock()

    def close(self) -> None:
        self.group.close()
        self.outbox.close()
        self.logouts.close()
        self.sweeper.close()
        self.watch.close()
        self.stream.close()
        self.database.close()


def open_state(settings: Settings) -> ServerState:
    """Load or make the keys, migrate the database, start the verification thread.

    Raises KeyFileError, NewerStateError, BadInputError; RefusedError where a restore was not
    confirmed.
    """
    database = Database(settings.db_url, hurried=True)
    ring = ring_of(settings, database)
    schema.ensure(database, ring)
    restored.must_be_confirmed(database)
    directories = directories_of(settings)
    with database.read() as connection:
        must_belong(connection, ring)
    gateways = _gateways(settings)
    probe = WriteProbe(database)
    return ServerState(
        settings,
        ring,
        database,
        GroupCommit(database, Verifier(ring), settings.clock, background=settings.background),
        Outbox(database, ring, gateways, settings.clock, background=settings.background),
        LogoutSender(
            database, ring, settings.public_url, settings.clock, background=settings.background
        ),
        breached_by(settings.breach_list),
        settings.public_url,
        Sweeper(
            database, ring, settings.clock, settings.audit_days, background=settings.background
        ),
        AuditStream(database, sink_from(settings.audit_stream) if settings.audit_stream else None),
        Names(database),
        probe,
        GroundWatch(database, probe, settings.clock, background=settings.background),
        key_metadata.load(*settings.key_metadata, settings.clock())
        if settings.key_metadata
        else None,
        directories,
    )


def must_be_usable(settings: Settings) -> None:
    """Before anything is served: what settings name is read as `open_state` will. Raises
    BadInputError."""
    _gateways(settings)
    directories_of(settings)
    breached_by(settings.breach_list)
    if settings.audit_stream:
        sink_from(settings.audit_stream)
    if settings.key_metadata:
        key_metadata.load(*settings.key_metadata, settings.clock())


def _gateways(settings: Settings) -> dict[str, Gateway]:
    named = ((outbox.SMS, settings.sms), (outbox.EMAIL, settings.smtp))
    return {channel: gateway_from(url, sender=settings.mail_from) for channel, url in named if url}


def breached_by(source: Path | str | None) -> BreachList:
    """A file, or a service's URL. Raises BadInputError."""
    if isinstance(source, str):
        return BreachedRanges(source)
    return HashListFile(source) if source else SmallBreachList()


def directories_of(settings: Settings) -> dict[str, LdapDirectory]:
    """Firm → its directory. Raises BadInputError."""
    named = directories_from(settings.directories) if settings.directories else {}
    return {firm: LdapDirectory(one) for firm, one in named.items()}
