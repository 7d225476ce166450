"""The card's firmware behind a line of pipes, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys

DEVICE = Path(__file__).parent / "device"
VECTORS = Path(__file__).parents[2] / "vectors"
Fault = Callable[[bytes], list[tuple[int, bytes]]]


class PipeCard:
    """A docked card. It is a ByteLink of the station's T=1, whose time is the card's own clock.

    now: milliseconds. presses: (from, to) instants between which the button is down.
    to_card, to_station: what the line does to a write: pieces, each with a delay in milliseconds.
    """

    name = "pipe"

    def __init__(self, process: Any) -> None:
        self._process = process
        self.now = 0
        self._pending = self._read_wait()
        self._forget()

    def _forget(self) -> None:
        self._connection: CardConnection | None = None
        self.presses: list[tuple[int, int]] = []
        self.docked = True
        self.to_card: Fault = lambda data: [(0, data)]
        self.to_station: Fault = lambda data: [(0, data)]
        self.traffic: list[str] = []
        self._in: list[tuple[int, bytes]] = []
        self._out: list[tuple[int, bytes]] = []

    def evaluate(self, expression: str) -> Any:
        """The value of an expression on the device."""
        self._write(f"eval {expression}")
        kind, _, value = self._process.stdout.readline().partition(" ")
        assert kind == "value", value
        return json.loads(value)

    def reset(self, **fields: Any) -> None:
        """Undock, set the store, dock."""
        self._forget()
        self.docked = False
        for _ in range(3):
            self._step(0)
        self.evaluate(f"reset(**{fields!r})")
        self._forget()
        self._step(0)

    def dock_again(self) -> None:
        """Take the card out of its dock, and put it back."""
        self.docked = False
        for _ in range(3):
            self._step(0)
        self.docked = True
        self._step(0)
        if self._connection is not None:
            self._connection.t1.resynchronise()

    def inspect(self) -> dict[str, Any]:
        return self.evaluate("inspect()")

    @property
    def log(self) -> list[str]:
        """What `digest` gives for every command that was executed since the reset."""
        return self.evaluate("log")

    def connection(self) -> CardConnection:
        """The connection, synchronised anew, as when the station is started."""
        if self._connection is None:
            self._connection = CardConnection(self)
        else:
            self._connection.t1.resynchronise()
        return self._connection

    def transmit(self, apdu: str) -> tuple[bytes, int]:
        """Send a command in hexadecimal over a line without faults; its answer and status word."""
        connection = self._connection or self.connection()
        response = connection.t1.exchange(bytes.fromhex(apdu))
        return response[:-2], int.from_bytes(response[-2:], "big")

    def press(self, after_ms: int = 100, for_ms: int = 80) -> None:
        """Have the button pressed in a while."""
        self.presses.append((self.now + after_ms, self.now + after_ms + for_ms))

    def write(self, data: bytes) -> None:
        self._queue(self._in, self.to_card(data))

    def read(self, timeout_s: float) -> bytes:
        end = self.now + round(timeout_s * 1000)
        while True:
            arrived = b"".join(data for due, data in self._out if due <= self.now)
            if arrived:
                self._out = [entry for entry in self._out if entry[0] > self.now]
                return arrived
            if self.now >= end and not any(due <= self.now for due, _ in self._in):
                return b""
            self._run(end)

    def drain(self) -> None:
        while self.read(0):
            pass

    def close(self) -> None: ...

    def run(self, ms: int) -> None:
        """Let time pass; what the card sends meanwhile can be read afterwards."""
        end = self.now + ms
        while self.now < end:
            self._run(end)

    def _run(self, end: int) -> None:
        """Until the card's wait is over, something happens, or `end`."""
        edges = [instant for press in self.presses for instant in press]
        due = [instant for instant, _ in self._in + self._out]
        ahead = [instant for instant in edges + due if instant > self.now]
        ready = any(instant <= self.now for instant, _ in self._in)
        self._step(0 if ready else min([end, self.now + self._pending, *ahead]) - self.now)

    def _step(self, ms: int) -> None:
        self.now += ms
        down = any(begin <= self.now < end for begin, end in self.presses)
        received = b"".join(data for due, data in self._in if due <= self.now)
        self._in = [entry for entry in self._in if entry[0] > self.now]
        self._write(f"step {ms} {self.docked + 2 * down} x{received.hex()}")
        self._pending = self._read_wait()

    def _write(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read_wait(self) -> int:
        """The firmware's next wait; what it has sent is on the line."""
        line = self._process.stdout.readline()
        kind, _, rest = line.partition(" ")
        assert kind == "wait", line + self._process.stdout.read()
        ms, _, sent = rest.strip().partition(" ")
        if sent:
            self._queue(self._out, self.to_station(bytes.fromhex(sent)))
        return int(ms)

    def _queue(self, line: list[tuple[int, bytes]], pieces: list[tuple[int, bytes]]) -> None:
        """A line delays, but bytes do not overtake one another on it."""
        arrow = ">" if line is self._in else "<"
        seen = ", ".join(f"+{delay} {piece.hex()}" for delay, piece in pieces)
        self.traffic.append(f"{self.now} {arrow} {seen}")
        for delay, piece in pieces:
            last = line[-1][0] if line else 0
            line.append((max(self.now + delay, last), piece))


@pytest.fixture(scope="session")
def digest() -> Callable[[bytes], str]:
    """How a command appears in PipeCard.log."""
    return lambda apdu: sha256(apdu).hexdigest()[:16]


TRANSPORT_KEYS = bytes(range(0x40, 0x50)) * 3
FIRM_KEYS = bytes(range(0x60, 0x90))


@pytest.fixture(scope="session")
def open_channel() -> Callable[..., SecureChannel]:
    """Opens SCP03 on a PipeCard with ENC ‖ MAC ‖ DEK, as the station does."""

    def opening(
        card: PipeCard, keys: bytes = TRANSPORT_KEYS, key_version: int = 0
    ) -> SecureChannel:
        def derive(_: object, context: bytes) -> SoftwareChannelKeys:
            return SoftwareChannelKeys(keys[:16], keys[16:32], context)

        return SecureChannel.open(card.connection(), derive, key_version=key_version)

    return opening


@pytest.fixture
def firm_keys() -> bytes:
    """ENC ‖ MAC ‖ DEK of the key set 01 that `in_life_cycle` gives a card."""
    return FIRM_KEYS


@pytest.fixture
def in_life_cycle(pipe_card: PipeCard) -> Callable[..., PipeCard]:
    """Puts the card, with firm keys and a credential, in a life cycle."""

    def put(life_cycle: int, **fields: Any) -> PipeCard:
        credential = {"name": b"TS00000001".hex(), "seed": b"12345678901234567890".hex()}
        pipe_card.reset(life_cycle=life_cycle, kvn=1, keys=FIRM_KEYS.hex(), **credential, **fields)
        return pipe_card

    return put


@pytest.fixture(scope="session")
def card_process(micropython: Any) -> Iterator[PipeCard]:
    # The half above 64 KiB is for what the harness keeps: lines of hexadecimal, json, eval.
    process = micropython.start(DEVICE / "main.py", path=(DEVICE,), heap="128k")
    yield PipeCard(process)
    process.stdin.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 0


@pytest.fixture
def pipe_card(card_process: PipeCard) -> PipeCard:
    """A card as from the factory, docked. Property tests call card.reset() for each example."""
    card_process.reset()
    return card_process


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """The published vectors of a name."""
    return lambda name: json.loads((VECTORS / f"{name}.json").read_text())
