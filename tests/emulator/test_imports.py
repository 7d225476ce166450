"""Firmware finds the modules that its board's MicroPython has, and no others."""

from __future__ import annotations

import ast
import os
import re
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest

from tallystick.emulator.boards import BOARDS
from tallystick.emulator.chip.mcu import Mcu
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.interpreter import micropython, resident
from tallystick.tools.fresh import card
from tallystick.tools.image.folder import from_folder
from tallystick.tools.image.heap import KIB

# A firmware's only way to say something without a serial line: an exception.
TRIES = """
def outcome(line):
    try:
        exec(line, {})
    except Exception as error:
        return "%s: %s" % (type(error).__name__, error)
    return ""

raise RuntimeError("<<%r>>" % [outcome(line) for line in LINES])
"""
OF_UNIX = ["socket", "ssl", "tls", "termios", "argparse", "websocket", "ffi", "requests", "mip"]
OF_THE_PORT = [
    "link", "flash", "guard", "boot", "vfs_board", "uctypes_board", "usb_device", "room", "late",
    "sys_board", "micropython_board",
]  # fmt: skip


@pytest.fixture
def outcomes(tmp_path):
    def run(board: str, lines: list[str], **files: str) -> dict[str, str]:
        (tmp_path / "main.py").write_text(f"LINES = {lines!r}\n{TRIES}")
        for name, source in files.items():
            path = tmp_path / f"{name.replace('__', '/', 1)}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        with (
            Card(from_folder(tmp_path, board), seed=1) as device,
            pytest.raises(FirmwareCrashError) as crash,
        ):
            device.power_on()
        text = crash.value.what.partition("<<")[2].rpartition(">>")[0]
        return dict(zip(lines, ast.literal_eval(text), strict=True))

    return run


@pytest.mark.parametrize(
    ("board", "more"), [("pico", ["stm", "pyb"]), ("nucleo_l476rg", ["_thread", "rp2"])]
)
def test_what_the_board_lacks_is_refused_as_there(board, more, outcomes):
    names = [*OF_UNIX, *OF_THE_PORT, *more]
    lines = [f"import {name}" for name in names]
    lines += ["from socket import socket", "import vfs; vfs.VfsPosix", "open('/etc/passwd')"]
    seen = outcomes(board, lines)
    for name in names:
        assert seen[f"import {name}"] == f"ImportError: no module named '{name}'"
    assert seen["from socket import socket"] == "ImportError: no module named 'socket'"
    assert seen["import vfs; vfs.VfsPosix"].startswith("AttributeError")
    assert seen["open('/etc/passwd')"].startswith("OSError")


@pytest.mark.parametrize(
    "rare", ["import os; os.sync()", "import machine; machine.Timer()", "import os; os.uname()"]
)
def test_it_is_refused_also_behind_what_is_loaded_late(rare, outcomes):
    """Few firmwares use these; whoever did had the modules of a desktop from then on."""
    seen = outcomes("pico", [rare, "import socket", "import late"])
    assert seen["import socket"] == "ImportError: no module named 'socket'"
    assert seen["import late"] == "ImportError: no module named 'late'"


@pytest.mark.parametrize(("board", "more"), [("pico", "rp2"), ("nucleo_l476rg", "stm")])
def test_what_the_board_has_is_there(board, more, outcomes):
    lines = [
        "import array, binascii, collections, cryptolib, errno, framebuf, gc, hashlib, heapq, io",
        "import json, machine, math, micropython, os, random, re, select, struct, sys, time, vfs",
        f"import {more}",
        "import utime, ubinascii",
        "from ustruct import pack",
        "import flash; assert flash.MINE",
        "import room.door; assert room.door.OPEN",
        "from room import door; assert door.OPEN",
        "from room.window import OPEN",
    ]
    seen = outcomes(
        board, lines, flash="MINE = 1\n", room__door="OPEN = 1\n",
        room__window="from .door import OPEN\n", room____init__="",
    )  # fmt: skip
    assert set(seen.values()) == {""}, seen


NAMES = """
import gc, micropython
for n in range(700):
    getattr(gc, "n%d" % n, None)
    micropython.qstr_info()
raise RuntimeError("over")
"""


def _printed(monkeypatch, board: str, folder: Path) -> str:
    """What a firmware prints before it ends."""
    console: list[bytes] = []
    monkeypatch.setattr(
        Mcu,
        "read_console",
        lambda mcu: console.append(os.pread(mcu.console.descriptor, 1 << 20, 0)),
    )
    with Card(from_folder(folder, board), seed=1) as device, pytest.raises(FirmwareCrashError):
        device.power_on()
    return console[0].decode()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("board", BOARDS)
def test_the_firmware_has_the_boards_heap_to_itself(tmp_path, monkeypatch, board, inside):
    (tmp_path / "main.py").write_text("import gc; gc.collect(); print('free', gc.mem_free()); x")
    with resident.enabled() if inside else nullcontext():
        said = _printed(monkeypatch, board, tmp_path)
    free = int(said.partition("free ")[2].split()[0])
    assert 0 <= BOARDS[board].heap - free < 5 * KIB  # less what the mounted file system takes


@pytest.mark.parametrize("board", BOARDS)
def test_the_firmware_has_its_own_pools_of_names(tmp_path, monkeypatch, board):
    """Where a pool more is taken is MicroPython's (py/qstr.c): after what is in ROM one of 20, then
    one of twice the room whenever the last one is full."""
    (tmp_path / "main.py").write_text(NAMES)
    said = re.findall(r"n_pool=(\d+), n_qstr=(\d+)", _printed(monkeypatch, board, tmp_path))
    assert len(said) == 700
    firsts = {int(pools): int(names) for pools, names in reversed(said)}
    rises = [firsts[pools] for pools in sorted(firsts)[1:]]
    assert [b - a for a, b in pairwise(rises)][-4:] == [40, 80, 160, 320]


@pytest.mark.parametrize("inside", [False, True])
def test_nothing_of_the_present_folder_is_run(tmp_path, monkeypatch, inside: bool):
    for name in ("boot", "link", "guard", "sys"):
        (tmp_path / f"{name}.py").write_text("raise ValueError('of the present folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(micropython, "_server", micropython._ForkServer())
    with resident.enabled() if inside else nullcontext(), card("pico") as device:
        device.power_on()
        assert device.powered
