"""Virtual time: a number of microseconds that only moves forward, and the events due in it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Clock:
    """`now` is in µs since the emulation began. Events run at their time, in the order given."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time_us, self.now), next(self._order), action))

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        self.at(self.now + delay_us, action)

    def clear(self) -> None:
        """Forgets what is due."""
        self._events.clear()

    def next_event(self) -> int | None:
        """Time (µs) of the earliest event, or None."""
        return self._events[0][0] if self._events else None

    def run_due(self) -> None:
        """Runs every event whose time has come."""
        while self._events and self._events[0][0] <= self.now:
            heapq.heappop(self._events)[2]()
