"""Programs of others through PC/SC: the stock client `ykman` on our card, and our station on
another maker's applet. `make compiled` installs what that takes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import httpx
import pytest

from tallystick.common.identity import DEVELOPMENT_MASTER, kdf3
from tallystick.provisioning.card.pcsc import PcscConnection, readers
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.provisioning.foreign import Foreign, Wanted
from tallystick.provisioning.journal import StationJournal
from tallystick.tools.vpcd import ATR
from tests import needs
from tests.emulator.test_vpcd import reader
from tests.provisioning.conftest import URL, make_ring
from tests.provisioning.foreign_applet import ForeignApplet
from tests.provisioning.memory_registry import MemoryRegistry

__all__ = ["reader"]
pytestmark = [
    needs.pcsc.mark,
    needs.ykman.mark,
]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 4226, appendix D, in base 32
SERIAL = "TS00000001"
YKMAN = str(needs.YKMAN)
WAIT_S = 60
READER = "Tally test 00 00"  # of the two slots that vpcd makes


def until(true: Callable[[], bool]) -> None:
    for _ in range(10 * WAIT_S):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(f"not so after {WAIT_S} s")


def readers_of_theirs() -> str:
    command = [YKMAN, "list", "--readers"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def ykman(*words: str) -> str:
    command = [YKMAN, "--reader", READER, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def emulated(reader) -> Iterator[str]:
    """An emulated card in the virtual reader; gives its control interface."""
    card = subprocess.Popen(
        [
            sys.executable, "-m", "tallystick.cli", "emulate", "card", "--json", "--control", "0",
            "--serial", SERIAL, "--vpcd", f"127.0.0.1:{reader}",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = [""]
        while lines[-1] != "}\n":
            lines.append(card.stdout.readline())
            assert lines[-1], "the card did not start"
        yield json.loads("".join(lines))["control"]
    finally:
        card.send_signal(signal.SIGTERM)
        card.wait(60)
        card.stdout.close()


def test_a_stock_client_provisions_our_card(emulated):
    """ykman as its makers ship it: an account over SCP03, its list, and codes after a press."""
    until(lambda: READER in readers_of_theirs())
    assert "5.7.0" in ykman("oath", "info")
    keys = ":".join(key.hex() for key in kdf3(DEVELOPMENT_MASTER, SERIAL.encode()))
    ykman("--scp", keys, "oath", "accounts", "add", "-o", "HOTP", "-d", "6", SERIAL, SECRET)
    assert ykman("oath", "accounts", "list", "-o").strip() == f"{SERIAL}, HOTP"
    for expected in ("755224", "287082"):
        before = on_the_glass(emulated)

        def press(before: str = before) -> None:
            until(lambda: on_the_glass(emulated) != before)  # it asks for a press
            httpx.post(f"{emulated}/button", json={"action": "press"}).raise_for_status()

        pressing = threading.Thread(target=press)
        pressing.start()
        try:
            assert expected in ykman("oath", "accounts", "code", SERIAL)
        finally:
            pressing.join()


def on_the_glass(card: str) -> str:
    return str(httpx.get(f"{card}/display?format=json").json()["sha256"])


@contextmanager
def in_the_reader(applet: ForeignApplet, port: int) -> Iterator[None]:
    """The applet as the card of a vpcd: a length of two bytes, then a command or a control byte."""
    for _ in range(100):
        with suppress(OSError):
            line = socket.create_connection(("127.0.0.1", port), timeout=30)
            break
        time.sleep(0.05)

    def serve() -> None:
        file = line.makefile("rb")
        with suppress(OSError):
            while head := file.read(2):
                message = file.read(int.from_bytes(head, "big"))
                if len(message) == 1:
                    answer = ATR if message == b"\x04" else None
                else:
                    answer = applet.process(message)
                if answer is not None:
                    line.sendall(len(answer).to_bytes(2, "big") + answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        line.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        line.close()


def provisioned(folder: Path) -> tuple[str, str, bytes]:
    """In a process of its own: the PC/SC library asks once where its service is. → the serial
    number, the account, and the seed that was registered"""
    registry, custody = MemoryRegistry(), SoftwareCustody(make_ring())
    until(lambda: any(READER in name for name in readers()))
    journal = StationJournal(folder / "journal.db")
    with closing(journal), PcscConnection(READER) as device:
        done = Foreign(custody, registry, journal, URL).provision(device, Wanted(touch=False))
    return done.serial, done.account, registry.seeds[done.serial]


def test_the_station_provisions_a_foreign_applet_and_the_stock_client_reads_it(reader, tmp_path):
    applet = ForeignApplet()
    with in_the_reader(applet, reader):
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            _, account, seed = alone.submit(provisioned, tmp_path).result(WAIT_S)
        assert [(name, one.key) for name, one in applet.accounts.items()] == [
            (account.encode(), seed)
        ]
        assert account in ykman("oath", "accounts", "list")
