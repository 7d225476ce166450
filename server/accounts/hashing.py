"""How many passwords are hashed at once: each takes 64 MiB, and a core for tens of milliseconds."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tallystick.common import beside
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.wording.worded import worded

T = TypeVar("T")

QUEUE = 64
MOST_AT_ONCE = 3
RETRY_AFTER_S = 5
NICENESS = 10


def at_once() -> int:
    """How many: a core is left for checks of codes, and memory has its limit."""
    return max(1, min(MOST_AT_ONCE, len(os.sched_getaffinity(0)) - 1))


class Hashing:
    """A few threads that hash, and a queue before them that has an end.

    The threads yield to all others: a check of a code waits for a commit, not for a password.
    """

    def __init__(self, at_once: int, queue: int = QUEUE) -> None:
        self._most = at_once + queue
        self._taken = 0
        self._lock = threading.Lock()
        self._pool = beside.ThreadPoolExecutor(
            at_once, thread_name_prefix="passwords", initializer=_yield_to_others
        )

    def run(self, work: Callable[[], T]) -> T:
        """`work`, when it is its turn. Raises ApiError (503) when too many wait already."""
        with self._lock:
            if self._taken >= self._most:
                raise busy()
            self._taken += 1
        try:
            return self._pool.submit(contextvars.copy_context().run, work).result()
        finally:
            with self._lock:
                self._taken -= 1


def busy() -> ApiError:
    return ApiError(
        503,
        "busy",
        "Too many people sign in at this moment.",
        kept=NOTHING_CHANGED,
        todo=worded("Try again in {seconds} seconds.", seconds=RETRY_AFTER_S),
        retry_after_s=RETRY_AFTER_S,
    )


def _yield_to_others() -> None:
    with suppress(OSError, AttributeError):  # where threads have no niceness of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
