"""A station in a process of its own, whose memory is searched from outside."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import Registered
from tallystick.provisioning.steps import Plan, Provisioner
from tests.provisioning.memory_card import MemoryCard, MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry

_PR_GET_DUMPABLE = 3  # prctl(2)


def _with_room_for_a_dump() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


class _AnyRegistry(MemoryRegistry):
    """Takes every container without opening it: the station's process must not see a seed."""

    def lookup(self, serial):
        return None

    def register(self, serial, container):
        return Registered(serial, "registered", 6, 2)


class _Line:
    """The card's contacts, over a socket."""

    name = "line"

    def __init__(self, line: socket.socket) -> None:
        self.line = line

    def write(self, data: bytes) -> None:
        self.line.sendall(data)

    def read(self, timeout_s: float) -> bytes:
        return self.line.recv(4096) if timeout_s else b""

    def drain(self) -> None:
        pass


def main(handle: str, keys: str, secret: Path, journal: Path) -> None:
    """The station's side: a card for each message, or what the kernel holds of its dumps."""
    _with_room_for_a_dump()
    line = socket.socket(fileno=int(handle))
    with (
        closing(key_store(keys).open(secret.read_text())) as custody,
        closing(StationJournal(journal)) as kept,
    ):
        provisioner = Provisioner(custody, _AnyRegistry(), kept, Plan(), "")
        line.sendall(b"waits")
        while (asked := line.recv(16)) in (b"card", b"dumpable"):
            if asked == b"dumpable":
                line.sendall(b"%d" % ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0))
                continue
            provisioner.provision(CardConnection(_Line(line)), lambda s, n: None)
            line.sendall(b"waits")


class Station:
    """What the test holds of it. cards: those that it has provisioned."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        self._process, self._line = process, line
        self.cards: list[MemoryCard] = []
        self.pid = process.pid
        assert self._line.recv(16) == b"waits"

    def is_dumpable(self) -> bool:
        """Whether it may dump, and others of its user may read its memory."""
        self._line.sendall(b"dumpable")
        return self._line.recv(16) != b"0"

    def ends(self, number: int) -> None:
        """By a signal."""
        os.kill(self.pid, number)
        self._process.wait(60)

    def provision(self, pause: Callable[[MemoryCard], bool] | None = None) -> None:
        """One card; at most up to the moment for which `pause` holds, and its answer is due."""
        card = MemoryCard(serial=f"TS{len(self.cards):08d}")
        self.cards.append(card)
        link = MemoryLink(card)
        self._line.sendall(b"card")
        while (data := self._line.recv(4096)) != b"waits":
            assert data, "the station ended"
            link.write(data)
            if pause is not None and pause(card):
                return
            while answer := link.read(0):
                self._line.sendall(answer)

    def copies(self, secrets: Iterable[bytes]) -> dict[bytes, int]:
        """How often the first 16 bytes of each stand in the process's memory."""
        found = Counter(dict.fromkeys(secrets, 0))
        needles = {secret[:16]: secret for secret in found}
        assert len(needles) == len(found) and all(len(needle) == 16 for needle in needles)
        for _, piece in _memory(self.pid):
            found.update(needles[needle] for needle in _found(piece, needles))
        return dict(found)

    def flags(self, secret: bytes) -> list[set[str]]:
        """What the kernel does with each region that the secret stands in, as smaps calls it: `lo`
        is locked, `dd` is left out of dumps."""
        regions = _flags(self.pid)
        return [regions[start] for start, piece in _memory(self.pid) if secret in piece]


@contextmanager
def station(keys: str, secret: str, folder: Path) -> Iterator[Station]:
    """keys, secret: as `--keys` takes them, and what opens them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    phrase = folder / "secret"
    phrase.write_text(secret)
    program = (
        "import sys; from pathlib import Path; from tests.provisioning.memory_search import main"
    )
    program += "; a = sys.argv; main(a[1], a[2], Path(a[3]), Path(a[4]))"
    command = [sys.executable, "-c", program, str(theirs.fileno()), keys, str(phrase)]
    process = subprocess.Popen(
        [*command, str(folder / "journal.db")],
        pass_fds=[theirs.fileno()],
        cwd=Path(__file__).parents[2],
    )
    theirs.close()
    ours.settimeout(120)
    try:
        yield Station(process, ours)
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        ours.close()


def _memory(pid: int) -> Iterator[tuple[int, bytes]]:
    """The writable memory of a process, region by region: (address, content)."""
    process = Path(f"/proc/{pid}")
    with (process / "maps").open(encoding="utf-8") as maps, (process / "mem").open("rb") as memory:
        for line in maps:
            region, rights, *_ = line.split()
            if rights.startswith("rw"):
                start, end = (int(part, 16) for part in region.split("-"))
                memory.seek(start)
                with suppress(OSError):
                    yield start, memory.read(end - start)


def _flags(pid: int) -> dict[int, set[str]]:
    """VmFlags of each region, by its address."""
    found, start = {}, 0
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(" ")
        if "-" in name and not name.endswith(":"):
            start = int(name.split("-")[0], 16)
        elif name == "VmFlags:":
            found[start] = set(rest.split())
    return found


def _found(piece: bytes, needles: Collection[bytes]) -> Iterator[bytes]:
    """The 16-byte needles in a piece of memory, each as often as it is there."""
    if len(piece) < 16:
        return
    first = np.zeros(1 << 16, bool)
    first[[int.from_bytes(needle[:2], "big") for needle in needles]] = True
    data = np.frombuffer(piece, np.uint8)
    candidates = np.flatnonzero(first[data[:-1].astype(np.uint16) << 8 | data[1:]])
    for at in candidates:
        if piece[at : at + 16] in needles:
            yield piece[at : at + 16]
