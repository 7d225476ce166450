"""What feeds the board: sums the currents of the parts and takes them from the cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick.emulator.parts.coin_cell import CoinCell

_US_PER_HOUR = 3_600_000_000
# A voltage that was this much above a limit stays above it while so much of the capacity is drawn:
# the steepest piece of any cell's curve falls by 10 mV there.
_CLEAR_MV = 150
_CLEAR_PART = 0.0005


class Supply:
    """Parts say what they draw with the setters that `load` gives. On a dock the cell is spared.

    listener: called with (duration in µs, currents in µA in the order of `names`) for every stretch
    of time, before it is drawn.
    """

    def __init__(self, cell: CoinCell, names: Sequence[str]) -> None:
        self.cell = cell
        self.docked = False
        self.bounces: set[str] = set()
        """Loads (chip, flash, display) at whose next draw the cell's contact bounces, once."""
        self.listener: Callable[[int, list[float]], None] | None = None
        self.names = list(names)
        self._ua = [0.0] * len(names)
        self._total_ua = 0.0
        self._elapsed_us = 0  # that the cell had to feed
        self._used_ua_us = [0.0] * len(names)
        self._used_until_us = [0] * len(names)
        self._drawn_ua_us = 0.0  # since the cell was last brought up to date
        self._drawn_until_us = self._settled_us = 0
        self._clear = (0, 0, 0.0, 0)  # see `holds`

    def load(self, name: str) -> Callable[[float], None]:
        """What tells the present current (µA) of this part."""
        number = self.names.index(name)

        def set_current(ua: float) -> None:
            if ua != self._ua[number]:
                self._change(number, ua)

        return set_current

    def _change(self, number: int, ua: float) -> None:
        now = self._elapsed_us
        self._drawn_ua_us += self._total_ua * (now - self._drawn_until_us)
        self._drawn_until_us = now
        self._used_ua_us[number] += self._ua[number] * (now - self._used_until_us[number])
        self._used_until_us[number] = now
        self._ua[number] = ua
        self._total_ua = sum(self._ua)

    @property
    def used_uah(self) -> dict[str, float]:
        """Charge taken by each part, from the cell only."""
        now = self._elapsed_us
        return {
            name: (used + ua * (now - until)) / _US_PER_HOUR
            for name, used, ua, until in zip(
                self.names, self._used_ua_us, self._ua, self._used_until_us, strict=True
            )
        }

    def currents_ua(self) -> list[float]:
        return list(self._ua)

    def current_ua(self) -> float:
        return self._total_ua

    def voltage_mv(self) -> int:
        self.settle()
        return self.cell.voltage_mv(self._total_ua)

    def holds(self, limit_mv: int) -> bool:
        """Whether the voltage is at least `limit_mv`. What was clear a moment ago, under no less a
        load, is not worked out again."""
        limit, revision, ua, until_us = self._clear
        if (
            self._total_ua <= ua
            and self._elapsed_us <= until_us
            and limit == limit_mv
            and revision == self.cell.revision
        ):
            return True
        mv = self.voltage_mv()
        if mv >= limit_mv + _CLEAR_MV:
            ua = max(self._total_ua, 1.0)
            lasts_us = self.cell.capacity_uah * _CLEAR_PART / ua * _US_PER_HOUR
            until_us = self._elapsed_us + int(lasts_us)
            self._clear = (limit_mv, self.cell.revision, self._total_ua, until_us)
        return mv >= limit_mv

    def draw(self, duration_us: int) -> None:
        """Time goes by."""
        if self.listener is not None:
            self.listener(duration_us, list(self._ua))
        if not self.docked:
            self._elapsed_us += duration_us

    def settle(self) -> None:
        """The cell is brought up to this moment."""
        now = self._elapsed_us
        if now != self._settled_us:
            drawn_ua_us = self._drawn_ua_us + self._total_ua * (now - self._drawn_until_us)
            self.cell.draw(drawn_ua_us / _US_PER_HOUR, now - self._settled_us)
            self._drawn_ua_us = 0.0
            self._drawn_until_us = self._settled_us = now
