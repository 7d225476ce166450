"""What happens later, in a core's virtual time."""

from __future__ import annotations

from collections.abc import Callable

Action = Callable[[], None]


class Scheduled:
    """Something that happens at a time (ns), unless it is cancelled."""

    def __init__(self, due_ns: float, action: Action) -> None:
        self.due_ns = due_ns
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None
