"""Wall time to provision a card over a line that is not paced, into a real server."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from tallystick.emulator import boards
from tallystick.tools.bench.row import row
from tallystick.tools.bench.station import station
from tallystick.tools.fresh import card, one_core

CARDS = 15
BITS_A_BYTE, BAUD = 10, 115_200


def measure() -> list[dict[str, Any]]:
    """Median over CARDS of one station, docking to life cycle SECURED."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, station(Path(folder)) as home:
        for letter, board in zip("ABCDEFGH", boards.BOARDS.values(), strict=False):
            if board.device != "card":
                continue
            wall, wire = [], []
            for number in range(CARDS):
                with one_core(), card(board.name, serial=f"TS{letter}{number:07}") as device:
                    device.power_on()
                    began = time.perf_counter()
                    outcome = home.provision(device)
                    wall.append(time.perf_counter() - began)
                    wire.append(outcome.wire_bytes)
            floor = median(wire) * BITS_A_BYTE / BAUD * 1000
            peer = f"its {median(wire):.0f} bytes take {floor:.0f} ms at 115200 baud"
            value = round(median(wall) * 1000, 1)
            rows.append(row(f"provision a card, {board.name}", value, "ms wall", "≤ 100", peer))
    return rows
