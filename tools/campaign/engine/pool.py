"""Processes that work for a campaign."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from tallystick.common.process import end_with_parent

T = TypeVar("T")
Task = TypeVar("Task")


class WorkerPool(ProcessPoolExecutor):
    """Left by an exception (Ctrl-C is one), it waits for no task that is under way."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._others = multiprocessing.active_children()

    def in_order(self, work: Callable[[Task], T], tasks: Iterable[Task]) -> Iterator[T]:
        """What `work` makes of each. `map` takes back what is not done when it is left, and a
        thread of the library's trips over that when the workers are killed then."""
        under_way = deque(self.submit(work, task) for task in tasks)
        while under_way:
            yield under_way.popleft().result()

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
