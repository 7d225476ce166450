"""The reader's commands work within its board's heap; docs/reference/reader.md has the figures."""

from __future__ import annotations

import pytest

from tallystick.tools.heap.reader_commands import KIB, Heaps

SLACK = 2  # KiB: where things come to lie differs from run to run,
TRIES = 3  # and is unlucky now and then, where growth is there each time
HUNGRIEST = {"reader-delete-at-wrap": 125, "reader-blobs": 124, "reader-register": 121}


@pytest.fixture(scope="module")
def heaps() -> Heaps:
    return Heaps()


@pytest.mark.parametrize("name", HUNGRIEST)
def test_the_hungriest_commands(heaps: Heaps, name: str) -> None:
    assert heaps.limit == 140
    works = heaps.paths()[name]
    assert any(works((HUNGRIEST[name] + SLACK) * KIB) for _ in range(TRIES))
    assert works(heaps.limit * KIB)


def test_a_heap_that_is_too_small_is_found(heaps: Heaps) -> None:
    assert not heaps.paths()["reader-blobs-at-wrap"](90 * KIB)
