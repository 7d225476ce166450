"""Current over time as power profilers export it: time in ms, µA, and eight logic channels.

The columns are those of Nordic's Power Profiler Kit. Where a profiler has a row a sample, this has
two a step, which draws the same and keeps days of sleep in one line.
"""

from __future__ import annotations

from pathlib import Path

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe

HEADER = "Timestamp(ms),Current(uA),D0-D7"


class CurrentCsv(Probe):
    """D0 button, D1 dock, D2 display select, D3 display power; D0 is written first."""

    def __init__(self, path: Path, board: CardBoard) -> None:
        self._file = path.open("w", encoding="ascii")
        self._file.write(HEADER + "\n")
        pins = (board.button_pin, board.dock_pin, board.display_select_pin, board.display_power_pin)
        self._channels = {pin: number for number, pin in enumerate(pins) if pin >= 0}
        self._logic = ["0"] * 8
        self._last: tuple[str, str] | None = None
        self._end_us = 0

    def pin(self, now_us: int, pin: int, level: int) -> None:
        if pin in self._channels:
            self._logic[self._channels[pin]] = str(level)

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        now = (f"{sum(currents_ua):.3f}", "".join(self._logic))
        if now != self._last:
            if self._last is not None:
                self._row(now_us, self._last)
            self._row(now_us, now)
            self._last = now
        self._end_us = now_us + duration_us

    def _row(self, time_us: int, values: tuple[str, str]) -> None:
        self._file.write(f"{time_us / 1000:.3f},{values[0]},{values[1]}\n")

    def close(self) -> None:
        if self._last is not None:
            self._row(self._end_us, self._last)
        self._file.close()
