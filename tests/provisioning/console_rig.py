"""A station as in a firm: a server process, emulated cards behind real ptys, the console as a
process of its own, and its terminal."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tallystick.common import sealed
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.custody import keyfile
from tallystick.provisioning.custody.store import key_store
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.registry import TallyServer
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.serving.running import RunningServer, running

PASSPHRASE = "correct horse battery staple"
TALLY = [sys.executable, "-m", "tallystick.cli"]
WAIT_S = 120


class Terminal:
    """A process whose standard output is JSON values, one after the other."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*TALLY, *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._values: queue.Queue[dict[str, str]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        lines: list[str] = []
        assert self.process.stdout
        for line in self.process.stdout:
            lines.append(line)
            if line == "}\n":
                self._values.put(json.loads("".join(lines)))
                lines.clear()

    def value(self) -> dict[str, str]:
        """The next value; raises queue.Empty when none comes."""
        return self._values.get(timeout=WAIT_S)

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        try:
            return self.process.wait(WAIT_S)
        finally:
            self.process.kill()
            self._reader.join(5)
            assert self.process.stdout
            self.process.stdout.close()


@dataclass
class Rig:
    folder: Path
    server: RunningServer
    console: Terminal
    url: str
    desk_token: str
    admin_token: str
    cards: dict[str, Terminal] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    controls: dict[str, str] = field(default_factory=dict)

    def new_card(self, *, in_service: bool = False) -> str:
        """Take an emulated card into the hand; in service: provisioned."""
        serial = f"TS{len(self.ports):08d}"
        self.take_card(serial)
        if in_service:
            self._provision(self.ports[serial])
        return serial

    def _provision(self, port: str) -> None:
        custody = key_store(str(self.folder / "keys.json")).open(PASSPHRASE)
        registry = TallyServer(custody.server())
        journal = StationJournal(self.folder / "journal.db")
        try:
            with CardConnection.open(port) as connection:
                work = Provisioner(custody, registry, journal, Plan(), self.server.url)
                work.provision(connection, lambda state, serial: None)
        finally:
            journal.close()
            registry.close()
            custody.close()

    def take_card(self, serial: str) -> None:
        card = Terminal("emulate", "card", "--pty", "--control", "0", "--json", "--serial", serial)
        said = card.value()
        self.cards[serial] = card
        self.controls[serial] = said["control"]
        self.ports[serial] = said["port"]

    def press(self, serial: str) -> str:
        """Press the button of a card in the hand, read its display, and let that go dark."""
        with httpx.Client(base_url=self.controls[serial], timeout=60) as card:
            card.post("/button", json={"action": "press"}).raise_for_status()
            code = card.get("/display?format=json").json()["code"]
            card.post("/clock", json={"advance_ms": 40_000}).raise_for_status()
        assert code is not None
        return str(code)

    def insert(self, serial: str, dock: int) -> None:
        """Put a card into a dock: a link, as udev makes for a device."""
        link = self.folder / f"dock{dock}"
        new = self.folder / f".dock{dock}"
        new.symlink_to(self.ports[serial])
        new.replace(link)

    def close(self) -> None:
        """Every card at once: each takes a moment to end."""
        for card in self.cards.values():
            card.ask_to_stop()
        for card in self.cards.values():
            card.wait()

    def clear(self) -> None:
        """Take every dock away."""
        for link in self.folder.glob("dock*"):
            link.unlink()


@contextmanager
def station_in_a_firm(folder: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        server = stack.enter_context(running(folder))
        server.make_known("ada")
        station = server.add_credential("station", "first")
        desk = server.add_credential("desk", "Ann").token.reveal().decode()
        admin = server.add_credential("admin", "boss").token.reveal().decode()
        env = environment(folder)
        keys(folder, server, station, env)
        console = Terminal(
            "station", "console", "--listen-port", "0", "--json",
            "--ports", str(folder / "dock*"), env=env,
        )  # fmt: skip
        stack.callback(ends_well, console)
        url = console.value()["url"].rstrip("/")
        rig = Rig(folder, server, console, url, desk, admin)
        stack.callback(rig.close)
        wait_for(url)
        yield rig


def ends_well(console: Terminal) -> None:
    assert console.stop() == 0


def environment(folder: Path) -> dict[str, str]:
    return {
        "TALLY_STATION_PASSPHRASE": PASSPHRASE,
        "TALLY_STATION_KEYS": str(folder / "keys.json"),
        "TALLY_STATION_JOURNAL": str(folder / "journal.db"),
        "TALLY_STATION_OPERATOR": str(folder / "operator.json"),
    }


def keys(folder: Path, server: RunningServer, station: object, env: dict[str, str]) -> None:
    """An enrolled key file, made here with a cheap passphrase hash."""
    ring = keyfile.KeyRing.create(DEVELOPMENT_MASTER)
    value = {
        "id": station.id,
        "role": "station",
        "token": station.token.reveal().decode(),
        "psk": station.psk.reveal().hex(),
    }
    ring.enroll(keyfile.parse_credential(server.url, value))
    cost = dict(sealed.COST)
    sealed.COST.update(memory_kib=64, time=1)
    try:
        keyfile.save(folder / "keys.json", ring, PASSPHRASE, replace=False)
    finally:
        sealed.COST.update(cost)


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{url}/sign-in")
            return
        except httpx.ConnectError:
            threading.Event().wait(0.05)
    raise AssertionError("the console did not start")
