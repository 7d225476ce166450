"""Many cards on many ports: one worker a port, so that a slow or dead port holds up no other.

A worker takes the card that it finds through its steps, then waits until the card is taken out. A
port that vanishes ends its worker, and gets a new one when it is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tallystick.common import beside, moments
from tallystick.common.errors import NoDeviceError, TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.ports import PortSource
from tallystick.provisioning.steps import Outcome, Provisioner

LOOK_FOR_PORTS_S = 0.25
LOOK_FOR_REMOVAL_S = (0.02, 0.5)  # first look, and the longest time between two
REST_S = 1.0  # of a port that could not be opened


class Listener(Protocol):
    """What a batch tells while it runs; called from several threads."""

    def step(self, port: str, state: CardState, serial: str) -> None: ...
    def press(self, port: str) -> None: ...
    def finished(self, port: str, outcome: Outcome) -> None: ...
    def failed(self, port: str, serial: str, error: TallyError) -> None: ...
    def empty(self, port: str) -> None: ...


@dataclass(frozen=True)
class CardFailure:
    """A card that was not finished, or whose port failed."""

    port: str
    serial: str
    error: TallyError


@dataclass
class Summary:
    """What a batch did. already: cards that were finished in earlier runs of the same batch."""

    wanted: int
    already: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[CardFailure] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def missing(self) -> int:
        """Cards."""
        return max(0, self.wanted - self.already - len(self.outcomes))

    @property
    def cards_per_s(self) -> float:
        return len(self.outcomes) / self.elapsed_s if self.elapsed_s else 0.0


class Batch:
    """Runs until `count` cards are finished or `stop` is set. A card under way is never broken
    off."""

    def __init__(
        self,
        provisioner: Provisioner,
        source: PortSource,
        count: int,
        listener: Listener,
        *,
        already: int = 0,
        open_card: Callable[[str], CardConnection] = CardConnection.open,
    ) -> None:
        self._provisioner = provisioner
        self._source = source
        self._listener = listener
        self._open_card = open_card
        self.summary = Summary(count, already)
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._under_way = 0
        self._workers: dict[str, beside.Thread] = {}
        self._resting: dict[str, float] = {}
        self._fault: Exception | None = None

    def run(self) -> Summary:
        """Start workers as ports appear; returns when the count is reached or `stop` is set and
        the cards under way are finished."""
        began = moments.steady()
        try:
            while not self.stop.is_set() and self.summary.missing:
                self._wake.clear()
                self._start_workers()
                self._wake.wait(LOOK_FOR_PORTS_S)
        finally:
            self.stop.set()
            for worker in list(self._workers.values()):
                worker.join()
            self.summary.elapsed_s = moments.steady() - began
        if self._fault is not None:
            raise self._fault
        return self.summary

    def _start_workers(self) -> None:
        now = moments.steady()
        for port in self._source.ports():
            worker = self._workers.get(port)
            if (worker is not None and worker.is_alive()) or self._resting.get(port, 0) > now:
                continue
            worker = beside.Thread(target=self._work, args=(port,), name=f"port {port}")
            self._workers[port] = worker
            worker.start()

    def _work(self, port: str) -> None:
        try:
            with self._open_card(port) as connection:
                while not self.stop.is_set():
                    if not self._take_slot():
                        self._rest(port)
                        break
                    serial = self._one_card(port, connection)
                    if not self._wait_for_other(connection, serial):
                        break
        except NoDeviceError:
            self._rest(port)
        except Exception as error:  # a fault of this program: end the batch in good order
            self._fault = error
            self.stop.set()
        finally:
            self._listener.empty(port)
            self._wake.set()

    def _rest(self, port: str) -> None:
        self._resting[port] = moments.steady() + REST_S

    def _take_slot(self) -> bool:
        """Never more cards under way than are wanted."""
        with self._lock:
            if self._under_way >= self.summary.missing:
                return False
            self._under_way += 1
            return True

    def _one_card(self, port: str, connection: CardConnection) -> str:
        """Take one card through its steps; returns its serial number as far as known."""
        serial = ""

        def report(state: CardState, found: str) -> None:
            nonlocal serial
            serial = found
            self._listener.step(port, state, found)

        waiting = Waiting(keepalive=lambda: self._listener.press(port))
        outcome: Outcome | None = None
        try:
            outcome = self._provisioner.provision(connection, report, waiting)
        except TallyError as error:
            with self._lock:
                self.summary.failures.append(CardFailure(port, serial, error))
            self._listener.failed(port, serial, error)
        finally:
            with self._lock:
                self._under_way -= 1
                if outcome is not None:
                    self.summary.outcomes.append(outcome)
        if outcome is not None:
            self._listener.finished(port, outcome)
        self._wake.set()
        return serial

    def _wait_for_other(self, connection: CardConnection, serial: str) -> bool:
        """Wait until the card is taken out. True when another is in its place already. A fixture
        swaps cards at once, a person takes seconds: looks grow further apart."""
        pause, longest = LOOK_FOR_REMOVAL_S
        try:
            serial = serial or _says(connection)  # of a card that failed before it was known
            while not self.stop.wait(pause):
                pause = min(2 * pause, longest)
                connection.t1.resynchronise()
                found = _says(connection)
                if found and found != serial:
                    return True
        except NoDeviceError:
            pass
        return False


def _says(connection: CardConnection) -> str:
    """The serial number that the card in the dock tells anybody; "" when it tells none.

    Raises NoDeviceError when there is no card.
    """
    try:
        return IssuerSession(connection).serial()
    except NoDeviceError:
        raise
    except TallyError:
        return ""
