"""The names in a board's image, for its MicroPython to have in flash (`names.h` of its folder).

    python -m tallystick.tools.image.names

A name that MicroPython knows by heart is found by halving. Any other is put into RAM by the first
module that uses it, and searched for one by one by each that follows: without this list that was a
quarter of all instructions from a press to its code. An image may have other names than the list:
each costs its search, and nothing else.

The format of .mpy files: MicroPython 1.28, py/persistentcode.c (version 6).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tallystick import __version__
from tallystick.emulator.boards import ALL
from tallystick.emulator.boards.board import Board
from tallystick.tools import firmware
from tallystick.tools.image.board_builds import DEFINITIONS
from tallystick.tools.image.build import build

_HEADER = 4  # bytes: letter, version, flags, bits of a small integer
_PLAIN = re.compile(r"[\w./]+", re.ASCII)
_INTRODUCTION = """\
// The names that the card's firmware uses, one a line, in the form of the port's qstrdefsport.h.
// Written by `python -m tallystick.tools.image.names`.
"""


def path(board: Board) -> Path:
    """Of a board whose MicroPython is built from a folder of its own."""
    return firmware.root() / DEFINITIONS / board.start_folder / "names.h"


def listed(board: Board) -> str:
    """The file, as it has to be for the firmware of this checkout."""
    return _INTRODUCTION + "".join(f"Q({name})\n" for name in sorted(used(board)))


def used(board: Board) -> set[str]:
    """Names in the image and in its boot stage. Those that are sentences are left out."""
    built = build(board.device, board.name, __version__)
    files = [*built.files.items(), *built.boot_files.items()]
    found = {name for at, data in files if at.endswith(".mpy") for name in names(data)}
    return {name for name in found if _PLAIN.fullmatch(name)}


def names(mpy: bytes) -> list[str]:
    """What a module has of its own, without those that every MicroPython has, in its order."""
    count, at = _number(mpy, _HEADER)
    _, at = _number(mpy, at)
    found = []
    for _ in range(count):
        length, at = _number(mpy, at)
        if length & 1:
            continue  # the number of a name that is in every MicroPython
        end = at + (length >> 1)
        found.append(mpy[at:end].decode())
        at = end + 1  # it ends with a zero
    return found


def _number(mpy: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the highest first, and where it ends."""
    value = 0
    while True:
        value, more = value << 7 | mpy[at] & 0x7F, mpy[at] & 0x80
        at += 1
        if not more:
            return value, at


if __name__ == "__main__":
    for board in ALL.values():
        if board.start_folder:
            path(board).write_text(listed(board), encoding="utf-8")
            sys.stdout.write(f"{path(board)}\n")
