"""What feeds the board: sums the currents of the parts and takes them from the cell."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.emulator.parts.coin_cell import CoinCell

_US_PER_HOUR = 3_600_000_000


class Supply:
    """`loads` gives each part's present current in µA by name. On a dock the cell is spared.

    listener: called with (duration in µs, currents in µA in the order of `loads`) for every stretch
    of time, before it is drawn.
    """

    def __init__(self, cell: CoinCell, loads: dict[str, Callable[[], float]]) -> None:
        self.cell = cell
        self.docked = False
        self.bounces: set[str] = set()
        """Loads (chip, flash, display) at whose next draw the cell's contact bounces, once."""
        self.listener: Callable[[int, list[float]], None] | None = None
        self._names = list(loads)
        self._loads = list(loads.values())
        self._numbered = list(enumerate(self._loads))
        self._used_ua_us = [0.0] * len(loads)

    @property
    def names(self) -> list[str]:
        return self._names

    @property
    def used_uah(self) -> dict[str, float]:
        """Charge taken by each part, from the cell only."""
        return {
            name: used / _US_PER_HOUR
            for name, used in zip(self._names, self._used_ua_us, strict=True)
        }

    def currents_ua(self) -> list[float]:
        return [load() for load in self._loads]

    def current_ua(self) -> float:
        return sum(self.currents_ua())

    def voltage_mv(self) -> int:
        return self.cell.voltage_mv(self.current_ua())

    def draw(self, duration_us: int) -> None:
        if self.listener is not None:
            self.listener(duration_us, self.currents_ua())
        if self.docked:
            return
        used = self._used_ua_us
        total = 0.0
        for number, load in self._numbered:
            current = load()
            if current:
                total += current
                used[number] += current * duration_us
        self.cell.draw(total * duration_us / _US_PER_HOUR, duration_us)
