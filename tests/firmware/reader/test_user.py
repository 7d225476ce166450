"""What is counted of fingers, without a reader around it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def user(alone: Callable[[str], Any]) -> Any:
    """The module."""
    return alone("reader.user")


@pytest.mark.parametrize(("before", "after"), [(0, 1), (65_534, 65_535), (65_535, 65_535)])
def test_fingers_since_the_last_pin_are_counted_to_what_fits(
    user: Any, before: int, after: int
) -> None:
    """uvCountSinceLastPinEntry has 16 bits in the state: it stops there, and a log-in does not."""
    changes: list[dict[str, int]] = []
    store = SimpleNamespace(
        burnt=0, uv_retries=5, pin_retries=8, verified=before,
        pay=lambda verified: changes.append({"verified": verified}),
        commit=lambda **fields: changes.append(fields),
    )  # fmt: skip
    person = SimpleNamespace(_reader=SimpleNamespace(store=store), is_known=lambda: True)
    assert user.User._matches(person)
    assert changes == [
        {"verified": after},
        {"pin_retries": 8, "uv_retries": 5, "burnt": 0},
    ]


@pytest.mark.parametrize("left", [1, 2])
def test_no_finger_is_compared_that_cannot_be_burnt(user: Any, left: int) -> None:
    """`left` bits are left; a command has three tries."""
    compared: list[int] = []
    store = SimpleNamespace(uv_retries=5, tries_ended=lambda: len(compared) >= left)
    user.ticks_ms, user.ticks_add = (lambda: 0), (lambda at, ms: at + ms)
    person = SimpleNamespace(
        _reader=SimpleNamespace(store=store, enrolment=None),
        _begin=lambda: None, _end=lambda: None, _light=lambda *_: None,
        _await_finger=lambda _deadline: True, _sample=lambda _number: user.GOOD,
        _matches=lambda: compared.append(1),
    )  # fmt: skip
    with pytest.raises(user.Refused) as refused:
        user.User.verify(person)
    assert len(compared) == left and refused.value.status == user.ctap.UV_BLOCKED
