"""A station of the real parts for measuring and for tests: key ring, journal, server,
provisioner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.steps import Outcome, Plan, Provisioner
from tallystick.server.serving.running import RunningServer, running
from tallystick.tools.docked import DockedLink


@dataclass(frozen=True)
class Station:
    """Provisions emulated cards into a running server."""

    server: RunningServer
    custody: SoftwareCustody
    registry: TallyServer
    journal: StationJournal

    def provision(self, card: Card, *, user: str | None = None, digits: int = 6) -> Outcome:
        """Docks the card, takes it through every step, and takes it off the dock."""
        if user is not None:
            self.server.make_known(user)
        plan = Plan(CodeKind(digits), user=user)
        provisioner = Provisioner(self.custody, self.registry, self.journal, plan, self.server.url)
        with CardConnection(DockedLink(card)) as connection:
            return provisioner.provision(connection, lambda _state, _serial: None)


@contextmanager
def station(folder: Path) -> Iterator[Station]:
    """Everything under `folder`; the server runs in a process of its own and is stopped at the
    end.
    """
    with running(folder) as server:
        credential = server.add_credential("station", "bench")
        ring = KeyRing.create(DEVELOPMENT_MASTER)
        assert credential.psk is not None
        body = {
            "id": credential.id,
            "role": "station",
            "token": credential.token.reveal().decode(),
            "psk": credential.psk.reveal().hex(),
        }
        ring.enroll(parse_credential(server.url, body))
        custody = SoftwareCustody(ring)
        registry = TallyServer(custody.server())
        journal = StationJournal(folder / "station.journal")
        try:
            yield Station(server, custody, registry, journal)
        finally:
            journal.close()
            registry.close()
            custody.close()
