"""How fast a station takes emulated cards through on many ports at once.

Each port is a pseudo-terminal, served by a process of its own that puts a fresh card into the dock
as soon as the one before is in service. The station and its ports share the computer with the
server and with every emulated card.
"""

from __future__ import annotations

import os
import select
import signal
import tempfile
import time
import tty
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tallystick.common.errors import TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.batch import Batch
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.ports import FixedPorts
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.steps import Outcome, Plan, Provisioner
from tallystick.server.serving.running import running
from tallystick.tools.docked import DockedLink
from tallystick.tools.image.build import build, write

_SET_STATUS = b"\x84\xf0\x80\x0f"
_ANSWER_LIMIT_S = 5.0


@dataclass(frozen=True)
class Rate:
    """median_ms, worst_ms: of a card, from the first command to the last. cpu_s: of the station's
    process."""

    ports: int
    cards: int
    failures: int
    seconds: float
    cards_per_s: float
    median_ms: float
    worst_ms: float
    wire_bytes: int
    cpu_s: float


class _Silent:
    """Implements batch.Listener."""

    def step(self, port: str, state: CardState, serial: str) -> None: ...
    def press(self, port: str) -> None: ...
    def finished(self, port: str, outcome: Outcome) -> None: ...
    def failed(self, port: str, serial: str, error: TallyError) -> None: ...
    def empty(self, port: str) -> None: ...


def measure(ports: int, cards: int) -> Rate:
    """Provision `cards` cards on `ports` ports into a server with an SQLite database."""
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as live:
        folder = Path(name)
        image = Image.load(write(build("card", boards.DEFAULT, "0.1.0"), folder / "image")["bin"])
        docks = [_dock(image, number) for number in range(ports)]
        try:
            credential = live.add_credential("station", "rate")
            assert credential.psk is not None
            ring = KeyRing.create(DEVELOPMENT_MASTER)
            body = {
                "id": credential.id,
                "role": "station",
                "token": credential.token.reveal().decode(),
                "psk": credential.psk.reveal().hex(),
            }
            ring.enroll(parse_credential(live.url, body))
            custody = SoftwareCustody(ring)
            registry = TallyServer(custody.server())
            journal = StationJournal(folder / "journal.db")
            provisioner = Provisioner(custody, registry, journal, Plan(batch="rate"), live.url)
            source = FixedPorts([port for port, _ in docks])
            cpu = time.process_time()
            summary = Batch(provisioner, source, cards, _Silent()).run()
            cpu = time.process_time() - cpu
            registry.close()
            journal.close()
        finally:
            for _, process in docks:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
        times = sorted(outcome.elapsed_ms for outcome in summary.outcomes)
        return Rate(
            ports=ports,
            cards=len(summary.outcomes),
            failures=len(summary.failures),
            seconds=round(summary.elapsed_s, 2),
            cards_per_s=round(summary.cards_per_s, 1),
            median_ms=times[len(times) // 2],
            worst_ms=times[-1],
            wire_bytes=summary.outcomes[0].wire_bytes,
            cpu_s=round(cpu, 2),
        )


def _dock(image: Image, number: int) -> tuple[str, int]:
    """A port and the process behind it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    port = os.ttyname(slave)
    process = os.fork()
    if process == 0:
        _serve(image, number, master)
    os.close(master)
    return port, process  # the slave stays open, so that the pseudo-terminal outlives its users


def _serve(image: Image, number: int, master: int) -> NoReturn:
    """One card after the other, for ever."""
    try:
        for count in range(10**6):
            identity = Identity.derive(f"R{number:03d}{count:06d}", 20260101).encode()
            with Card(image, identity=identity, seed=count) as card:
                card.power_on()
                _one_card(card, master)
    finally:
        os._exit(1)


def _one_card(card: Card, master: int) -> None:
    link = DockedLink(card)
    last = False
    while not last:
        select.select([master], [], [])
        data = os.read(master, 4096)
        link.write(data)
        last = _SET_STATUS in data
        answer = link.read(_ANSWER_LIMIT_S)
        if answer:
            os.write(master, answer)
    link.close()
