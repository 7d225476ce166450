"""Wall time of the emulator: power-on to the first frame, press to a new frame that is asserted."""

from __future__ import annotations

import itertools
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from tallystick.emulator import boards
from tallystick.emulator.interpreter import resident
from tallystick.tools.bench.row import row
from tallystick.tools.bench.station import station
from tallystick.tools.fresh import card, one_core

ROUNDS = 30


def measure() -> list[dict[str, Any]]:
    """Medians over ROUNDS, one core, in ms of wall time; idle as virtual time over wall time.
    "resident": firmware inside this process, see `emulator/resident.py`."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, one_core(), station(Path(folder)) as home:
        serials = (f"TS{number:08}" for number in itertools.count())
        for board in boards.BOARDS.values():
            for where, kind in (("", nullcontext()), (", resident", resident.enabled())):
                with kind, card(board.name, serial=next(serials)) as device:
                    device.power_on()
                    home.provision(device)
                    rows += _measure(board.name + where, device)
    return rows


def _measure(board: str, device: Any) -> list[dict[str, Any]]:
    power_on, press, codes = [], [], set()
    for _ in range(ROUNDS):
        device.power_off()
        began = time.perf_counter()
        device.power_on()
        device.press()
        codes.add(device.read_code())
        power_on.append(time.perf_counter() - began)
        device.run_for(40_000)
        began = time.perf_counter()
        device.press()
        codes.add(device.read_code())
        press.append(time.perf_counter() - began)
        device.run_for(40_000)
    if None in codes or len(codes) < 2 * ROUNDS - 2:
        raise RuntimeError("the display did not show a new code for every press")
    began = time.perf_counter()
    device.run_for(86_400_000)
    idle = 86_400 / (time.perf_counter() - began)
    on, new = round(median(power_on) * 1000, 2), round(median(press) * 1000, 2)
    return [
        row(f"power-on to first code read, {board}", on, "ms wall", "≤ 20", "speculos 440"),
        row(f"press to asserted new frame, {board}", new, "ms wall", "≤ 5", "speculos 204"),
        row(f"idle virtual time, {board}", round(idle), "× real", "≥ 50,000"),
    ]
