"""How the process of a firmware is started: what its port has to know of the board."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.emulator import coverage
from tallystick.emulator.boards.board import Board
from tallystick.emulator.interpreter import micropython

_COMMON_MODULES = (
    *("time", "machine", "os", "select", "hashlib", "cryptolib", "vfs_board", "uctypes_board"),
    "io_board",
)
_RELEASE = (1, 28, 0)  # of MicroPython, that firmware is told of

# The port's own modules live in the same heap as the firmware. They have this much, and take away
# what they leave of it (`port/room.py`).
_PORT_HEAP = 80 * 1024
_SPARING = 24 * 1024  # more, for the modules of a spared host and the tables of a larger heap
_MORE = 4  # twice was not always enough: what is long-lived lies between what is not collected


def launcher(
    board: Board, *, writable: bool, debugged: bool, spares_host: bool, watch: tuple[int, int]
) -> micropython.Launcher:
    """writable: firmware may write files. debugged: it was built to say where it is.
    spares_host: see `Mcu.spare_host`. watch: see `Mcu.hold_at_look`.
    """
    chip = board.chip
    # Who counts what was executed wants the firmware's own.
    spared = spares_host and not coverage.room()
    heap = _heap(board, spared=spared, watched=bool(coverage.room()) or debugged)
    config: dict[str, Any] = {
        "flash_base": chip.flash_base,
        "flash_size": board.flash_size,
        "heap": heap,
        "debugged": debugged,
        "counters": coverage.room(),
        "fs_base": board.storage.address,
        "fs_size": board.storage.size,
        "mapped": board.mapped,
        "writable": writable,
        "system": (chip.platform, board.machine or board.name, _RELEASE),
        "spares_host": spared,
        "modelled": list(chip.modelled_ranges),
        "registers": list(chip.modelled_registers),
        "modules": [
            *_COMMON_MODULES,
            *chip.port_modules,
            *board.modules,
            *(("files",) if writable else ()),
        ],
        "built_in": chip.built_in,
        "costs": {
            **_both(board.port_settings(), board.costs),
            "flash": {"us_per_256": board.read_us_per_256},
            "guard": {
                "us_per_256": board.import_us_per_256,
                "call_us": {name: dict(calls) for name, calls in board.call_us.items()},
            },
        },
        "watch": watch,
        "factory_words": list(chip.factory_words.items()),
    }
    whole = heap + _PORT_HEAP + (_SPARING if spared else 0)
    return micropython.Launcher(json.dumps(config), whole, board.flash_size + coverage.room())


def _heap(board: Board, *, spared: bool, watched: bool) -> int:
    """Bytes that the firmware has."""
    return board.heap * (_MORE if spared else 1) + (coverage.HEAP if watched else 0)


def _both(
    first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Settings of port modules, by name, put together."""
    names = (*first, *(name for name in second if name not in first))
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in names}
