"""How much heap each path of the firmware needs: the smallest with which it works, in steps of 1
KiB.

Measured on a 64-bit MicroPython, where most objects are twice as large as on the 32-bit boards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.card import Card
from tallystick.tools.bench.fresh import card, one_core
from tallystick.tools.bench.row import row
from tallystick.tools.bench.station import Station, station

KIB = 1024
_numbers = count()  # a server takes every serial number once


def measure() -> list[dict[str, Any]]:
    """KiB needed by each path on each card board."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, one_core(), station(Path(folder)) as home:
        for letter, board in zip("ABCDEFGH", boards.BOARDS.values(), strict=False):
            if board.device != "card":
                continue
            for path, works in PATHS.items():
                need = _smallest(board.name, letter, home, works)
                aim = f"≤ {board.heap // KIB}"
                rows.append(row(f"heap for {path}, {board.name}", need, "KiB", aim))
    return rows


def _smallest(
    board: str, letter: str, home: Station, works: Callable[[Card, Station], bool]
) -> int:
    """Binary search between 16 KiB and twice the board's heap."""
    low, high = 16, boards.find(board).heap // KIB * 2
    while low < high:
        middle = (low + high) // 2
        serial = f"T{letter}{next(_numbers):08}"
        with card(board, heap=middle * KIB, serial=serial) as device:
            try:
                good = works(device, home)
            except TallyError:
                good = False
        low, high = (low, middle) if good else (middle + 1, high)
    return low


def _press(device: Card, _home: Station) -> bool:
    device.power_on()
    device.press()
    return not device.frame().blank


def _hold(device: Card, _home: Station) -> bool:
    device.power_on()
    device.press(1_800)
    return not device.frame().blank


def _provision(device: Card, home: Station) -> bool:
    device.power_on()
    home.provision(device)
    return True


def _code(device: Card, home: Station) -> bool:
    _provision(device, home)
    device.press()
    return device.read_code() is not None


PATHS: dict[str, Callable[[Card, Station], bool]] = {
    "a press without a key": _press,
    "the information screen": _hold,
    "provisioning": _provision,
    "provisioning, then a code": _code,
}
