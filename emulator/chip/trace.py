"""What happened, when: one line an event, in virtual time, the same for the same seed."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """`time_us` is virtual time; `source` the part; `kind` what happened; `detail` never a
    secret.
    """

    time_us: int
    source: str
    kind: str
    detail: str = ""

    def as_dict(self) -> dict[str, str | int]:
        return {
            "time_us": self.time_us,
            "source": self.source,
            "kind": self.kind,
            "detail": self.detail,
        }


class Trace:
    """The last `limit` events (all when None). `off`: nobody looks at it, nothing is kept."""

    def __init__(self, limit: int | None = 100_000) -> None:
        self.events: deque[Event] = deque(maxlen=limit)
        self.off = False

    def add(self, time_us: int, source: str, kind: str, detail: str = "") -> None:
        if not self.off:
            self.events.append(Event(time_us, source, kind, detail))

    def json_lines(self) -> str:
        return "".join(json.dumps(event.as_dict()) + "\n" for event in self.events)
