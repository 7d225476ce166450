"""Whether a run takes every case of the long tests (`make test-whole`), or some of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., Any])
WHOLE = bool(os.environ.get("TALLY_CAMPAIGN"))


def some(cases: Sequence[T], *numbers: int) -> list[T]:
    """All of them in a whole run, else those of these numbers."""
    return list(cases) if WHOLE else [cases[number] for number in numbers]


def long(test: Test) -> Test | None:
    """A test that other tests nearly stand for: only in a whole run."""
    return test if WHOLE else None
