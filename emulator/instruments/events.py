"""Events as JSON lines, as they happen."""

from __future__ import annotations

import json
from pathlib import Path

from tallystick.emulator.chip.trace import Trace


class EventLog(Trace):
    """A trace that also writes every event to `path`, one JSON object a line."""

    def __init__(self, path: Path, limit: int | None = 100_000) -> None:
        super().__init__(limit)
        self._file = path.open("w", encoding="utf-8")

    def add(self, time_us: int, source: str, kind: str, detail: str = "") -> None:
        super().add(time_us, source, kind, detail)
        self._file.write(json.dumps(self.events[-1].as_dict()) + "\n")

    def close(self) -> None:
        self._file.close()
