"""A path of a firmware, and the heap that was committed for it."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.tools.image.heap import KIB

_SLACK = 2  # KiB: where things come to lie differs from run to run,
_TRIES = 3  # and is unlucky now and then, where growth is there each time


def holds(works: Callable[[int], bool], committed: int, limit: int) -> None:
    """It works with what was committed (KiB), and with the board's whole heap (bytes)."""
    heap = min(limit, (committed + _SLACK) * KIB)
    assert any(works(heap) for _ in range(_TRIES))
    assert works(limit)
