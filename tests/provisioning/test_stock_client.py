"""Programs of others through PC/SC: the stock client `ykman` on our card, and our station on
another maker's applet. `make stock-client` installs what that takes, and runs this."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tallystick.common.identity import DEVELOPMENT_MASTER, kdf3
from tallystick.provisioning.card.pcsc import PcscConnection, readers
from tallystick.provisioning.foreign import Foreign, Wanted
from tallystick.tools.vpcd import ATR
from tests import needs
from tests.emulator.test_vpcd import reader
from tests.provisioning.conftest import URL
from tests.provisioning.foreign_applet import ForeignApplet
from tests.provisioning.memory_registry import MemoryRegistry

__all__ = ["reader"]
FOLDER = os.environ.get("TALLY_TEST_YKMAN", "")
pytestmark = [
    needs.pcsc.mark,
    needs.ykman.mark,
]
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 4226, appendix D, in base 32
SERIAL = "TS00000001"
READER = "Tally test 00 00"  # of the two slots that vpcd makes


def ykman(*words: str) -> str:
    command = [str(Path(FOLDER) / "bin" / "ykman"), "--reader", READER, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
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
    for _ in range(50):
        if any(READER in name for name in readers()):
            break
        time.sleep(0.1)
    assert "5.7.0" in ykman("oath", "info")
    keys = ":".join(key.hex() for key in kdf3(DEVELOPMENT_MASTER, SERIAL.encode()))
    ykman("--scp", keys, "oath", "accounts", "add", "-o", "HOTP", "-d", "6", SERIAL, SECRET)
    assert ykman("oath", "accounts", "list", "-o").strip() == f"{SERIAL}, HOTP"
    for expected in ("755224", "287082"):
        press = threading.Timer(
            1.5, lambda: httpx.post(f"{emulated}/button", json={"action": "press"})
        )
        press.start()
        try:
            assert expected in ykman("oath", "accounts", "code", SERIAL)
        finally:
            press.join()


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


def test_the_station_provisions_a_foreign_applet_and_the_stock_client_reads_it(
    reader, custody, journal
):
    applet, registry = ForeignApplet(), MemoryRegistry()
    with in_the_reader(applet, reader):
        for _ in range(100):
            with suppress(Exception):
                device = PcscConnection(READER)
                break
            time.sleep(0.1)
        with device:
            done = Foreign(custody, registry, journal, URL).provision(device, Wanted(touch=False))
        assert registry.seeds == {done.serial: applet.accounts[done.account.encode()].key}
        assert done.account in ykman("oath", "accounts", "list")
