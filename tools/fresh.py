"""Devices for measuring: built from this checkout, with development keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from tallystick import __version__
from tallystick.common.identity import Identity
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.coin_cell import ROOM_C
from tallystick.tools.image.build import build, write


@cache
def image(board: str) -> Image:
    with tempfile.TemporaryDirectory() as folder:
        device = boards.find(board).device
        return Image.load(write(build(device, board, __version__), Path(folder))["bin"])


def card(
    board: str,
    *,
    heap: int | None = None,
    serial: str = "TS00000001",
    temperature_c: float = ROOM_C,
) -> Card:
    """A card fresh from the factory; `heap` bytes instead of the board's."""
    boot = image(board)
    if heap is not None:
        boot = replace(boot, board=replace(boot.board, heap=heap))
    identity = Identity.derive(serial, 20260101).encode()
    return Card(boot, identity=identity, seed=1, temperature_c=temperature_c)


@contextmanager
def one_core() -> Iterator[None]:
    """Keeps this thread, and the firmware it starts, on one core: a turn of the pipe costs 5 µs
    there, across two cores about ten times that. Several at a time spread over the cores."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
