"""How much heap each path of the firmware needs: the smallest with which it works, in steps of 1
KiB, beside the figures that were committed (`tools/image/heap.json`).

Measured on a 64-bit MicroPython, where most objects are twice as large as on the 32-bit boards.
`python -m tallystick.tools.bench.heap` measures everything and writes the figures anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.boards.board import Board
from tallystick.tools.bench import heap_paths
from tallystick.tools.bench.fresh import card, one_core
from tallystick.tools.bench.row import row
from tallystick.tools.image.sizes import HEAP_COMMITTED, KIB, heap_figures

_LEAST = 16  # KiB; nothing starts with less

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


def paths(board: Board, home: heap_paths.Home) -> dict[str, Works]:
    """The paths of a board's device by name."""
    if board.device == "reader":
        from tallystick.tools.bench import heap_reader  # noqa: PLC0415 (needs python-fido2)

        return {
            name: partial(heap_reader.works, board.name, path)
            for name, path in heap_reader.PATHS.items()
        }
    return {name: _card_works(board.name, home, path) for name, path in heap_paths.PATHS.items()}


def _card_works(board: str, home: heap_paths.Home, path: heap_paths.CardPath) -> Works:
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
    """KiB, by binary search up to twice the limit (KiB)."""
    low, high = _LEAST, 2 * limit
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * KIB) else (middle + 1, high)
    return low


def measured(of: Iterable[Board] = ()) -> Iterator[Measured]:
    """Every path on these boards, or on all."""
    kept = heap_figures()
    with one_core(), heap_paths.home() as home:
        for board in of or (boards.BOARDS | boards.READERS).values():
            limit = board.heap // KIB
            for name, works in paths(board, home).items():
                known = kept.get(board.name, {}).get(name, 0)
                yield Measured(board.name, name, smallest(works, limit), limit, known)


def measure() -> list[dict[str, Any]]:
    """KiB needed by each path on each board."""
    return [
        row(
            f"heap for {one.path}, {one.board}",
            one.need,
            "KiB",
            f"≤ {one.limit}",
            f"{one.committed} committed" if one.committed else "",
        )
        for one in measured()
    ]


def record() -> None:
    """Writes the figures of every path to `heap.json`."""
    kept: dict[str, dict[str, int]] = {}
    for one in measured():
        kept.setdefault(one.board, {})[one.path] = one.need
    HEAP_COMMITTED.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    record()
