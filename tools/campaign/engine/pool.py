"""Processes that work for a campaign."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tallystick.common.process import end_with_parent


def worker_pool(
    jobs: int, begin: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Each is a Python of its own, and ends with the one that asks, in whatever way that ends.
    begin: what each does before its first task, with these arguments."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(begin, arguments)
    )


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    if begin is not None:
        begin(*arguments)
