"""A lithium coin cell: voltage under load, and the charge drawn from it in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class CellType:
    """Data sheet figures at 20 °C. Charge in mAh, resistance in ohm over depth of discharge."""

    name: str
    capacity_mah: float
    self_discharge_per_year: float  # fraction of the capacity
    open_circuit_mv: tuple[tuple[float, float], ...]  # (depth of discharge 0..1, mV)
    resistance_ohm: tuple[tuple[float, float], ...]  # (depth of discharge 0..1, ohm)


# CR2032 (235 mAh to 2.0 V): open-circuit voltage and pulse resistance over depth of discharge, read
# from the discharge and pulse curves of common makers' data sheets.
CR2032 = CellType(
    name="CR2032",
    capacity_mah=235.0,
    self_discharge_per_year=0.01,
    open_circuit_mv=((0.0, 3200), (0.05, 3050), (0.5, 2980), (0.8, 2900), (0.9, 2750), (1.0, 2300)),
    resistance_ohm=((0.0, 12), (0.5, 20), (0.8, 40), (0.9, 80), (1.0, 200)),
)

_US_PER_HOUR = 3_600_000_000.0
_US_PER_YEAR = 365.25 * 24 * _US_PER_HOUR


def _interpolate(table: tuple[tuple[float, float], ...], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(table):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return table[-1][1]


class CoinCell:
    """Integrates current over virtual time. `fixed_mv` pins the open-circuit voltage (tests,
    panel).
    """

    def __init__(self, kind: CellType = CR2032) -> None:
        self.kind = kind
        self.used_uah = 0.0
        self.fixed_mv: int | None = None

    def draw(self, current_ua: float, duration_us: int) -> None:
        self.used_uah += current_ua * duration_us / _US_PER_HOUR
        self.used_uah += (self.kind.capacity_mah * 1000 * self.kind.self_discharge_per_year) * (
            duration_us / _US_PER_YEAR
        )

    @property
    def depth(self) -> float:
        """Depth of discharge, 0 (new) to 1 (empty)."""
        return min(1.0, self.used_uah / (self.kind.capacity_mah * 1000))

    def open_circuit_mv(self) -> float:
        if self.fixed_mv is not None:
            return float(self.fixed_mv)
        return _interpolate(self.kind.open_circuit_mv, self.depth)

    def voltage_mv(self, load_ua: float) -> int:
        """Terminal voltage (mV) under a load of `load_ua` µA."""
        resistance = _interpolate(self.kind.resistance_ohm, self.depth)
        return max(0, int(self.open_circuit_mv() - load_ua * resistance / 1000))
