"""The card in a virtual PC/SC reader: Debian's pcscd and vpcd, and standard card tools."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError
from tallystick.tools.vpcd import ATR, DEFAULT_PORT, parse_address

DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
SOCKET = Path("/run/pcscd/pcscd.comm")
TALLY = [sys.executable, "-c", "from tallystick.cli import main; main()"]
OATH = "00A4040007A0000005272101"

missing = [name for name in ("pcscd", "opensc-tool") if shutil.which(name) is None]
needs_pcsc = pytest.mark.skipif(
    bool(missing) or not DRIVER.exists() or os.geteuid() != 0,
    reason="needs root and: apt-get install pcscd vsmartcard-vpcd opensc",
)


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


def listens(port: int) -> bool:
    """Without a connection: that would be a card. State 0A, proc_pid_net(5)."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    text = "".join(file.read_text() for file in tables if file.exists())
    rows = [row.split() for row in text.splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


@pytest.fixture
def reader(tmp_path):
    """pcscd of this test's own, with one virtual reader; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "reader.conf"
    config.write_text(
        f'FRIENDLYNAME "Tally test"\nDEVICENAME /dev/null:0x{port:X}\n'
        f"LIBPATH {DRIVER}\nCHANNELID 0x{port:X}\n"
    )
    if SOCKET.exists():
        pytest.skip("another pcscd is running on this machine")
    command = ["pcscd", "--foreground", "--config", str(config)]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(500):
        if SOCKET.exists() and listens(port):
            break
        assert daemon.poll() is None
        time.sleep(0.02)
    yield port
    daemon.terminate()
    daemon.wait(10)


@needs_pcsc
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
        card.wait(15)
        card.stdout.close()
