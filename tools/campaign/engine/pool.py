"""Processes that work for a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any

from tallystick.common.process import end_with_parent


class WorkerPool(ProcessPoolExecutor):
    """Left by an exception (Ctrl-C is one), it waits for no task that is under way."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._others = multiprocessing.active_children()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> bool | None:
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                if process not in self._others:
                    process.kill()
        return super().__exit__(kind, error, place)


def worker_pool(jobs: int, begin: Callable[..., None] | None = None, *arguments: Any) -> WorkerPool:
    """Each is a Python of its own, and ends with the one that asks, in whatever way that ends.
    begin: what each does before its first task, with these arguments."""
    context = multiprocessing.get_context("spawn")
    return WorkerPool(jobs, mp_context=context, initializer=_begin, initargs=(begin, arguments))


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the asker decides
    end_with_parent()
    if begin is not None:
        begin(*arguments)
