"""A lithium cell: voltage under load, and the charge drawn from it in virtual time."""

from __future__ import annotations

from tallystick.emulator.parts.cells import CR2032, CellType, interpolate

_US_PER_HOUR = 3_600_000_000.0
_US_PER_YEAR = 365.25 * 24 * _US_PER_HOUR
ROOM_C = 20.0


class CoinCell:
    """Integrates current over virtual time. `fixed_mv` pins the open-circuit voltage and
    `fixed_ohm` the resistance, for tests and for the panel.

    Cold doubles the resistance every 20 K and leaves less of the capacity usable; warmth doubles
    the self-discharge every 15 K.
    """

    def __init__(self, kind: CellType = CR2032, temperature_c: float = ROOM_C) -> None:
        self.kind = kind
        self.drawn_uah = 0.0  # by the loads
        self.revision = 0  # changes with whatever is done to it from outside
        self._fixed_mv: int | None = None
        self._fixed_ohm: float | None = None
        self._lost_us = 0  # time for which self-discharge went on
        self.capacity_uah = kind.capacity_mah * 1000 * interpolate(kind.capacity_at, temperature_c)
        self._resistance_factor = 2 ** ((ROOM_C - temperature_c) / 20)
        self._leak_uah_per_us = (
            kind.capacity_mah * 1000 * kind.self_discharge_per_year / _US_PER_YEAR
        ) * 2 ** ((temperature_c - ROOM_C) / 15)

    @property
    def fixed_mv(self) -> int | None:
        return self._fixed_mv

    @fixed_mv.setter
    def fixed_mv(self, value: int | None) -> None:
        self._fixed_mv = value
        self.revision += 1

    @property
    def fixed_ohm(self) -> float | None:
        """Resistance in Ω in place of the curve's, or None; `fixed_mv` is the like for mV."""
        return self._fixed_ohm

    @fixed_ohm.setter
    def fixed_ohm(self, value: float | None) -> None:
        self._fixed_ohm = value
        self.revision += 1

    def draw(self, charge_uah: float, duration_us: int) -> None:
        """The loads took `charge_uah` over `duration_us`."""
        self.drawn_uah += charge_uah
        self._lost_us += duration_us

    @property
    def self_discharged_uah(self) -> float:
        return self._lost_us * self._leak_uah_per_us

    @property
    def used_uah(self) -> float:
        return self.drawn_uah + self.self_discharged_uah

    @property
    def depth(self) -> float:
        """Depth of discharge, 0 (new) to 1 (empty)."""
        return min(1.0, self.used_uah / self.capacity_uah)

    def set_depth(self, depth: float) -> None:
        """As if that part of the capacity had been used already. depth: 0 (new) to 1 (empty)."""
        self.drawn_uah = depth * self.capacity_uah - self.self_discharged_uah
        self.revision += 1

    def open_circuit_mv(self) -> float:
        return self._open_circuit_mv(self.depth)

    def _open_circuit_mv(self, depth: float) -> float:
        if self._fixed_mv is not None:
            return float(self._fixed_mv)
        return interpolate(self.kind.open_circuit_mv, depth)

    def resistance_ohm(self) -> float:
        return self._resistance_ohm(self.depth)

    def _resistance_ohm(self, depth: float) -> float:
        if self._fixed_ohm is not None:
            return self._fixed_ohm
        return interpolate(self.kind.resistance_ohm, depth) * self._resistance_factor

    def voltage_mv(self, load_ua: float) -> int:
        """Terminal voltage (mV) under a load of `load_ua` µA."""
        depth = self.depth
        drop_mv = load_ua * self._resistance_ohm(depth) / 1000
        return max(0, int(self._open_circuit_mv(depth) - drop_mv))
