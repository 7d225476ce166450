"""So many at once: what is looked up or written together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
BATCH = 500  # bound parameters in one statement


def batched(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """As `itertools.batched`, which Python 3.11 does not have."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
