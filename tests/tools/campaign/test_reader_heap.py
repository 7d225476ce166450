"""The reader's commands work within its board's heap; docs/reference/reader.md has the figures."""

from __future__ import annotations

import pytest

from tallystick.tools.heap.reader_commands import KIB, Heaps
from tests.tools.committed_heap import holds

HUNGRIEST = {"reader-delete-at-wrap": 125, "reader-blobs": 124, "reader-register": 121}


@pytest.fixture(scope="module")
def heaps() -> Heaps:
    return Heaps()


@pytest.mark.parametrize("name", HUNGRIEST)
def test_the_hungriest_commands(heaps: Heaps, name: str) -> None:
    assert heaps.limit == 140
    holds(heaps.paths()[name], HUNGRIEST[name], heaps.limit * KIB)


def test_a_heap_that_is_too_small_is_found(heaps: Heaps) -> None:
    assert not heaps.paths()["reader-blobs-at-wrap"](90 * KIB)
