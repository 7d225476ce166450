"""The card in a virtual PC/SC reader: Debian's pcscd and vpcd, and standard card tools."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.tools.vpcd import ATR, DEFAULT_PORT, parse_address
from tests import needs
from tests.emulator.sockets import listening

SOCKET = "/run/pcscd/pcscd.comm"
IN_ITS_OWN_MOUNT = """
mkdir -p /run/pcscd && mount -t tmpfs tmpfs /run/pcscd || exit
pcscd --help | grep -q disable-polkit && set -- --disable-polkit "$@"
exec pcscd --foreground "$@"
"""
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]
OATH = "00A4040007A0000005272101"


def test_the_atr_says_t1_and_who_it_is():
    assert ATR[:4] == bytes.fromhex("3B8A8001")
    assert ATR[4:14] == b"TALLYSTICK"
    check = 0
    for byte in ATR[1:]:
        check ^= byte
    assert check == 0  # ISO/IEC 7816-3, 8.2.5


def test_addresses():
    assert parse_address("127.0.0.1:5000") == ("127.0.0.1", 5000)
    assert parse_address("localhost") == ("localhost", DEFAULT_PORT)
    assert parse_address(":7") == ("127.0.0.1", 7)
    with pytest.raises(BadInputError, match="HOST:PORT"):
        parse_address("127.0.0.1:reader")


def test_without_a_vpcd_the_command_says_what_to_install(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*TALLY, "emulate", "card", "--vpcd", f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6
    assert "vsmartcard-vpcd" in done.stderr


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """pcscd of this test's own, with one virtual reader; gives its port.

    It binds to a fixed socket, so it gets a mount there that nobody else sees, and the programs of
    this test reach it by way of its process. Newer ones ask polkit about each client, which a bare
    machine does not have.
    """
    needs.own_mounts.or_skip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "reader.conf"
    config.write_text(
        f'FRIENDLYNAME "Tally test"\nDEVICENAME /dev/null:0x{port:X}\n'
        f"LIBPATH {needs.VPCD}\nCHANNELID 0x{port:X}\n"
    )
    daemon = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", IN_ITS_OWN_MOUNT, "sh", "--config", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    comm = Path(f"/proc/{daemon.pid}/root{SOCKET}")
    monkeypatch.setenv("PCSCLITE_CSOCK_NAME", str(comm))
    try:
        deadline = time.monotonic() + 30
        while not (comm.exists() and listening(port)):
            assert daemon.poll() is None, "pcscd did not start"
            assert time.monotonic() < deadline, "pcscd does not listen"
            time.sleep(0.02)
        yield port
    finally:
        daemon.terminate()
        daemon.wait(60)


@needs.pcsc.mark
def test_a_standard_card_tool_talks_to_the_card(reader):
    port = reader
    card = subprocess.Popen(
        [*TALLY, "emulate", "card", "--vpcd", f"127.0.0.1:{port}", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert card.stdout
        lines = [""]
        while lines[-1] != "}\n":
            lines.append(card.stdout.readline())
        assert json.loads("".join(lines))["port"]
        tool = ["opensc-tool", "-c", "default", "-s", OATH, "-s", "00A10000"]
        for _ in range(50):
            done = subprocess.run(tool, capture_output=True, text=True, timeout=30, check=False)
            if "Received" in done.stdout:
                break
            time.sleep(0.2)
        assert done.stdout.count("SW1=0x90, SW2=0x00") == 2, done.stdout + done.stderr
        assert "79 03 05 07 00 71 08" in done.stdout
        atr = subprocess.run(
            ["opensc-tool", "-a"], capture_output=True, text=True, timeout=30,
            check=True,
        )  # fmt: skip
        assert atr.stdout.strip() == ATR.hex(":")
    finally:
        card.send_signal(signal.SIGTERM)
        card.wait(60)
        card.stdout.close()
