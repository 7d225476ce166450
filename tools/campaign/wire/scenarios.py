"""What the station is about when the relay sits on its line: each scenario prepares a card and a
journal once, acts over the relay, and finishes over an honest line."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.link import ByteLink
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.registry import Registered
from tallystick.provisioning.rekey import rekey
from tallystick.provisioning.server_link import OutcomeUnknownError, RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.tools.campaign.wire.relay import Relay, Transcript
from tallystick.tools.campaign.wire.world import (
    URL,
    WatchedCustody,
    WireJournal,
    WireRegistry,
    finger,
    key_ring,
    new_card,
    open_journal,
)
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import Update, install


@dataclass
class WireStation:
    """One station for one run."""

    custody: WatchedCustody
    registry: WireRegistry
    journal: WireJournal

    def provision(self, link: ByteLink, waiting: Waiting, *, reseed: bool = False) -> None:
        plan = Plan(reseed=reseed)
        Provisioner(self.custody, self.registry, self.journal, plan, URL).provision(
            CardConnection(link), lambda state, serial: None, waiting
        )


@dataclass
class Scenario:
    """`act` is what the station does. flash, journal, containers: how a run begins."""

    name: str
    flash: bytes | None = None
    journal: bytes = b""
    containers: dict[str, bytes] = field(default_factory=dict)
    heard: Transcript = field(default_factory=Transcript)
    versions: int = 1
    wiped: bool = False  # the station wants the card's end
    blocks: int = 0  # of an honest run, the longer way

    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        """Raises TallyError."""
        station.provision(link, waiting)

    def finish(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        """Afterwards, over an honest line. Raises TallyError."""
        self.act(station, link, waiting)


class Reseed(Scenario):
    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        station.provision(link, waiting, reseed=True)


class Rekey(Scenario):
    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        rekey(CardConnection(link), station.custody, waiting)


class Wipe(Scenario):
    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        connection = CardConnection(link)
        channel = SecureChannel.open(connection, station.custody.channel_keys)
        try:
            IssuerSession(channel).set_status(LifeCycle.TERMINATED, waiting)
        finally:
            channel.close()


class Refused(Scenario):
    """The server does not take the card's seed, so that the station takes it back."""

    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        genuine = station.registry.register
        station.registry.register = _refuse  # type: ignore[method-assign]
        try:
            station.provision(link, waiting)
        finally:
            station.registry.register = genuine  # type: ignore[method-assign]

    def finish(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        station.provision(link, waiting)


def _refuse(serial: str, container: bytes) -> Registered:
    raise RegistryRefusedError("It is full.", "403")


@dataclass
class UpdateScenario(Scenario):
    update: Update | None = None

    def act(self, station: WireStation, link: ByteLink, waiting: Waiting) -> None:
        assert self.update is not None
        install(CardConnection(link), station.custody.channel_keys, self.update, waiting=waiting)


def begin(scenario: Scenario, folder: Path) -> WireStation:
    custody = WatchedCustody(key_ring(scenario.versions))
    registry = WireRegistry(custody)
    registry.containers = dict(scenario.containers)
    return WireStation(custody, registry, open_journal(folder, scenario.journal))


def prepare(image: Image, update: Update) -> list[Scenario]:
    """Every scenario, each tried once over an honest line."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        fresh = Scenario("provision")
        heard = _in_service(image, folder, fresh)
        stopped = _stopped(image, folder)
        kept = (heard.flash, heard.journal, heard.containers)
        found = [
            fresh,
            stopped,
            Reseed("reseed", *kept),
            Rekey("rekey", *kept, versions=2),
            Refused("refused"),
            Wipe("wipe", *kept, wiped=True),
            UpdateScenario("update", *kept, update=update),
        ]
        for scenario in found:
            scenario.heard.blocks += heard.heard.blocks
            _measure(image, folder, scenario)
        return found


def _in_service(image: Image, folder: Path, fresh: Scenario) -> Scenario:
    """A card in service, and what the relay heard of its provisioning."""
    station = begin(fresh, folder)
    with new_card(image) as card:
        relay = Relay(DockedLink(card), (), {})
        station.provision(relay, Waiting())
        return Scenario("in service", *_left(station, card, relay, folder), heard=relay.transcript)


def _stopped(image: Image, folder: Path) -> Scenario:
    """A run that stopped with the seed on the card, and nothing registered."""
    station = begin(Scenario("first"), folder)

    station.registry.register = _lose  # type: ignore[method-assign]
    with new_card(image) as card:
        relay = Relay(DockedLink(card), (), {})
        with suppress(OutcomeUnknownError):
            station.provision(relay, Waiting())
        return Scenario("resume", *_left(station, card, relay, folder), heard=relay.transcript)


def _lose(serial: str, container: bytes) -> Registered:
    raise OutcomeUnknownError("The server is away.")


def _left(
    station: WireStation, card: Card, relay: Relay, folder: Path
) -> tuple[bytes, bytes, dict[str, bytes]]:
    relay.close()
    card.run_for(1000)
    card.power_off()
    station.journal.close()
    journal = (folder / "journal.db").read_bytes()
    return bytes(card.flash.memory), journal, station.registry.containers


def _measure(image: Image, folder: Path, scenario: Scenario) -> None:
    station = begin(scenario, folder)
    with new_card(image, flash=scenario.flash) as card:
        relay = Relay(DockedLink(card), (), {})
        with suppress(RegistryRefusedError):
            scenario.act(station, relay, finger(card))
        counts = [len(relay.transcript.of(way)) for way in "<>"]
        scenario.blocks = max(counts)
    station.journal.close()
