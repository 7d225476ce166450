"""What heap an image needs, as it was committed in `heap.json`. `tools/heap` measures it."""

from __future__ import annotations

import json
from pathlib import Path

from tallystick.emulator.boards.board import Board
from tallystick.tools.image.sizes import Row

KIB = 1024
COMMITTED = Path(__file__).with_name("heap.json")


def figures() -> dict[str, dict[str, int]]:
    """Board → path through the firmware → KiB of heap that it needs."""
    found: dict[str, dict[str, int]] = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return found


def rows(board: Board, measured: int | None = None) -> list[Row]:
    """What the path that needs most takes: as it was committed, or as it was `measured` (KiB).
    None of a new board that nobody has measured yet."""
    kept = max(figures().get(board.name, {}).values(), default=0)
    if measured is not None:
        return [Row("heap, measured", measured * KIB, board.heap, kept * KIB)]
    return [Row("heap", kept * KIB, board.heap, kept * KIB)] if kept else []
