"""The `station` fixture: provisions cards, emulated or real, into a running server. It needs what
`tallystick[station,server]` installs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.credential import CodeKind
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.steps import Outcome, Plan, Provisioner
from tallystick.server.serving.running import RunningServer
from tallystick.testing.cards import CardUnderTest


@dataclass(frozen=True)
class StationUnderTest:
    """Provisions cards, emulated or real, into the server."""

    server: RunningServer
    _custody: SoftwareCustody
    _registry: TallyServer
    _journal: StationJournal

    def provision(
        self, card: CardUnderTest, *, user: str | None = None, digits: int = 6
    ) -> Outcome:
        """Docks the card, takes it through every step, and takes it off the dock."""
        plan = Plan(CodeKind(digits), user=user)
        work = Provisioner(self._custody, self._registry, self._journal, plan, self.server.url)
        with card.docked() as connection:
            return work.provision(connection, lambda _state, _serial: None)


@contextmanager
def station_at(server: RunningServer, folder: Path) -> Iterator[StationUnderTest]:
    """A station with a key ring, a journal and a credential of its own."""
    name = Path(tempfile.mkdtemp(dir=folder)).name
    credential = server.add_credential("station", name)
    assert credential.psk is not None
    ring = KeyRing.create(DEVELOPMENT_MASTER)
    ring.enroll(
        parse_credential(
            server.url,
            {
                "id": credential.id,
                "role": "station",
                "token": credential.token.reveal().decode(),
                "psk": credential.psk.reveal().hex(),
            },
        )
    )
    custody = SoftwareCustody(ring)
    registry = TallyServer(custody.server())
    journal = StationJournal(folder / name / "station.journal")
    try:
        yield StationUnderTest(server, custody, registry, journal)
    finally:
        journal.close()
        registry.close()
        custody.close()
