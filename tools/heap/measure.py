"""How much heap each path of the firmware needs: the smallest with which it works, and with each of
the eight sizes above it, in steps of 1 KiB, beside the figures that were committed
(`tools/image/heap.json`). Where things come to lie differs: a size may be lucky.

Measured on a 64-bit MicroPython, where most objects are twice as large as on the 32-bit boards.
`python -m tallystick.tools.heap.measure` measures everything and writes the figures anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.boards.board import Board
from tallystick.tools.fresh import card, one_core
from tallystick.tools.heap import card_paths
from tallystick.tools.image.heap import COMMITTED, KIB, figures

_LEAST = 16  # KiB; nothing starts with less
_SURE = 8  # KiB above that are tried, too

Works = Callable[[int], bool]
"""Whether a path works with a heap of so many bytes."""


@dataclass(frozen=True)
class Measured:
    """KiB. `committed` is 0 where no figure was kept."""

    board: str
    path: str
    need: int
    limit: int
    committed: int


def paths(board: Board, home: card_paths.Home) -> dict[str, Works]:
    """The paths of a board's device by name."""
    if board.device == "reader":
        from tallystick.tools.heap import reader_paths  # noqa: PLC0415 (needs python-fido2)

        return {
            name: partial(reader_paths.works, board.name, path)
            for name, path in reader_paths.PATHS.items()
        }
    return {name: _card_works(board.name, home, path) for name, path in card_paths.PATHS.items()}


def _card_works(board: str, home: card_paths.Home, path: card_paths.CardPath) -> Works:
    def works(heap: int) -> bool:
        with card(board, heap=heap, serial=next(home.serials)) as device:
            try:
                device.power_on()
                path(device, home)
            except TallyError:
                return False
        return True

    return works


def smallest(works: Works, limit: int) -> int:
    """KiB of heap from which on it works, by binary search up to twice the limit (KiB)."""
    low, high = _LEAST, 2 * limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * KIB) else (middle + 1, high)
    above = low + 1
    while above <= low + _SURE:
        if not works(above * KIB):
            low = above + 1
        above += 1
    return low


def measured(of: Iterable[Board] = ()) -> Iterator[Measured]:
    """Every path on these boards, or on all."""
    kept = figures()
    with one_core(), card_paths.home() as home:
        for board in of or boards.ALL.values():
            limit = board.heap // KIB
            for name, works in paths(board, home).items():
                known = kept.get(board.name, {}).get(name, 0)
                yield Measured(board.name, name, smallest(works, limit), limit, known)


def need(board: Board) -> int:
    """KiB that the hungriest path takes now, with the firmware of this checkout (a quarter of a
    minute)."""
    return max(one.need for one in measured([board]))


def record() -> None:
    """Writes the figures of every path to `heap.json`."""
    kept: dict[str, dict[str, int]] = {}
    for one in measured():
        kept.setdefault(one.board, {})[one.path] = one.need
    COMMITTED.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record()
