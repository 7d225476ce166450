"""What `tally campaign station` kills: a station in a process of its own, at numbered events.

The station is the product's own code. It reaches an emulated card, which lives on in the campaign's
process, through a socket, and a real server over HTTP. Its process is forked, so a run costs what
provisioning costs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tallystick.common.errors import NoDeviceError, TallyError
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card.connection import CardConnection, Response
from tallystick.provisioning.card.link import ByteLink
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.server_link import RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.tools.docked import DockedLink

ANSWER_LIMIT_S = 10.0
PATIENCE = 30
SERVER_LIMIT_S = 20.0
FINISHED = 0
REFUSED = 3
_S_WTX = b"\xc3"
_PRESS_MS = 120

Event = Callable[[str], None]


class _SocketLink:
    """The station's end of the line to the card."""

    name = "campaign"

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def write(self, data: bytes) -> None:
        try:
            self._line.sendall(data)
        except OSError:
            raise NoDeviceError("The port campaign went away while it was in use.") from None

    def read(self, timeout_s: float) -> bytes:
        """The card's time is virtual, and its end of the line closes when it is gone: a silence on
        this computer's clock says that the computer is busy, not that a block was lost."""
        if not select.select([self._line], [], [], timeout_s * PATIENCE)[0]:
            return b""
        try:
            data = self._line.recv(4096)
        except OSError:
            data = b""
        if not data:
            raise NoDeviceError("The port campaign went away while it was in use.")
        return data

    def drain(self) -> None:
        while self.read(0):
            pass

    def close(self) -> None:
        self._line.close()


class ToldConnection(CardConnection):
    """Tells of each command before it is sent and after it is answered."""

    def __init__(self, link: ByteLink, event: Event) -> None:
        self._event = event
        super().__init__(link)

    def send(self, apdu: bytes, waiting: Waiting | None = None) -> Response:
        name = f"apdu {self.apdus} {apdu[1]:02X}"
        self._event(f"before {name}")
        response = super().send(apdu, waiting)
        self._event(f"after {name}")
        return response


class ToldJournal(StationJournal):
    """Tells of each transaction: before it, when all is written, and when it is committed."""

    _event: Event = staticmethod(lambda label: None)
    _count = 0

    def tell(self, event: Event) -> None:
        self._event = event

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        number = self._count
        self._count += 1
        self._event(f"before journal {number}")
        with super()._transaction():
            yield
            self._event(f"within journal {number}")
        self._event(f"after journal {number}")


class ToldServer(TallyServer):
    """Tells of each request before it is sent and after it is answered. A request that was lost and
    is sent again has the same number, so that an event has the same name in every run."""

    _event: Event = staticmethod(lambda label: None)
    _count = 0

    def tell(self, event: Event) -> None:
        self._event = event

    def _call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        name = f"http {self._count} {method}"
        self._event(f"before {name}")
        try:
            body = super()._call(method, path, **how)
        except RegistryRefusedError:  # that is an answer
            self._count += 1
            raise
        self._count += 1
        self._event(f"after {name}")
        return body


@dataclass(frozen=True)
class StationRig:
    """What every station process of a campaign shares."""

    ring: KeyRing
    url: str
    journal: Path
    user: str
    reseed: bool = False

    def station(self, line: socket.socket, event: Event) -> int:
        """Provision the card on the line, as `tally station provision` and `resume` do."""
        custody = SoftwareCustody(self.ring)
        server = ToldServer(custody.server(), timeout_s=SERVER_LIMIT_S)
        journal = ToldJournal(self.journal)
        server.tell(event)
        journal.tell(event)
        try:
            server.check()
            connection = ToldConnection(_SocketLink(line), event)
            plan = Plan(user=self.user, reseed=self.reseed)
            Provisioner(custody, server, journal, plan, self.url).provision(
                connection, lambda state, serial: None
            )
        except TallyError:
            return REFUSED
        return FINISHED


@dataclass
class StationLife:
    """One life of a station process. events: labels in order; status: of its end; writes: how often
    it wrote to the card."""

    events: list[str]
    status: int
    writes: int

    @property
    def killed(self) -> bool:
        return os.WIFSIGNALED(self.status)

    @property
    def finished(self) -> bool:
        return os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status) == FINISHED


def run_station(
    rig: StationRig,
    card: Card,
    *,
    at: int | str | None = None,
    act: Callable[[], None] | None = None,
    power_cut: tuple[int, bool] | None = None,
) -> StationLife:
    """Fork a station and let it provision `card`.

    at: number or name of the event at which the station kills itself, or with `act` does that
    instead.
    power_cut: (number of the write to the card, whether it still arrives) after which the card's
    cell is pulled.
    """
    ours, theirs = socket.socketpair()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        ours.close()
        os.close(told_read)
        _be_station(rig, theirs, told_write, at, act)
    theirs.close()
    os.close(told_write)
    writes = _serve(card, ours, power_cut)
    ours.close()
    with os.fdopen(told_read, encoding="utf-8") as told:
        events = told.read().splitlines()
    _, status = os.waitpid(child, 0)
    return StationLife(events, status, writes)


def _be_station(
    rig: StationRig,
    line: socket.socket,
    told: int,
    at: int | str | None,
    act: Callable[[], None] | None,
) -> NoReturn:
    count = 0
    struck = False

    def event(label: str) -> None:
        nonlocal count, struck
        os.write(told, f"{label}\n".encode())
        if at in (count, label) and not struck:
            struck = True
            if act is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                act()
        count += 1

    status = 99
    try:
        status = rig.station(line, event)
    finally:
        os._exit(status)


def _serve(card: Card, line: socket.socket, power_cut: tuple[int, bool] | None) -> int:
    """Carry bytes between station and card until the station ends or the card loses power; returns
    how many writes of the station there were."""
    if not card.powered:
        card.power_on()
    link = DockedLink(card)
    writes = 0
    while True:
        data = line.recv(4096)
        if not data:
            link.close()
            return writes
        arrives = power_cut is None or writes != power_cut[0] or power_cut[1]
        if arrives:
            link.write(data)
        if power_cut is not None and writes == power_cut[0]:
            card.power_off()
            return writes
        writes += 1
        answer = link.read(ANSWER_LIMIT_S)
        if answer[1:2] == _S_WTX:  # it waits for its button
            card.button.push()
            card.run_for(_PRESS_MS)
            card.button.release()
        if answer:
            try:
                line.sendall(answer)
            except OSError:  # the station was killed meanwhile
                link.close()
                return writes
