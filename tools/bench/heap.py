"""How much heap each path of the firmware needs (`tools/heap`)."""

from __future__ import annotations

from typing import Any

from tallystick.tools.bench.row import row
from tallystick.tools.heap.measure import measured


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
