"""What is kept where, without a reader around it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

_FIRST, _MOST = 0x100, 128


@pytest.fixture
def store(alone: Callable[[str], Any]) -> Any:
    """The module."""
    return alone("reader.store")


def _with(taken: list[int]) -> Any:
    return SimpleNamespace(slots=lambda: [_FIRST + slot for slot in taken])


@pytest.mark.parametrize("free", [0, 1, 64, 127])
def test_each_slot_is_used(store: Any, free: int) -> None:
    """As many credentials fit as getInfo says (6.4, remainingDiscoverableCredentials)."""
    taken = [slot for slot in range(_MOST) if slot != free]
    assert store.Store.free_slot(_with(taken)) == _FIRST + free
    assert store.Store.room(_with(taken)) == 1


def test_one_more_than_fits_is_refused(store: Any) -> None:
    """KEY_STORE_FULL."""
    full = _with(list(range(_MOST)))
    assert store.Store.room(full) == 0
    with pytest.raises(store.Refused) as refused:
        store.Store.free_slot(full)
    assert refused.value.status == 0x28
