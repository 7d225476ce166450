"""What the panel draws over time: current, and the events of the last minutes."""

from __future__ import annotations

from collections import deque

from tallystick.emulator.chip.probe import Probe

_KEPT = 4000


class Meter(Probe):
    """The last steps of the current as (s, µA) points, two a step."""

    def __init__(self) -> None:
        self.points: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._last = -1.0

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        total = sum(currents_ua)
        if total != self._last:
            now = now_us / 1_000_000
            if self._last >= 0:
                self.points.append((now, self._last))
            self.points.append((now, total))
            self._last = total

    def window(self, now_us: int, seconds: float) -> list[tuple[float, float]]:
        """The points of the last `seconds`, from minus `seconds` to 0; currents at least 0.1 µA."""
        now = now_us / 1_000_000
        points = [(time - now, max(0.1, ua)) for time, ua in self.points if now - time <= seconds]
        before = [ua for time, ua in self.points if now - time > seconds]
        if before:
            points.insert(0, (-seconds, max(0.1, before[-1])))
        if self._last >= 0:
            points.append((0.0, max(0.1, self._last)))
        return points
