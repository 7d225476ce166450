"""What feeds the board: sums the currents of the parts and takes them from the cell."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.emulator.parts.coin_cell import CoinCell


class Supply:
    """`loads` gives each part's present current in µA by name. On a dock the cell is spared."""

    def __init__(self, cell: CoinCell, loads: dict[str, Callable[[], float]]) -> None:
        self.cell = cell
        self.loads = loads
        self.docked = False
        self.used_uah: dict[str, float] = dict.fromkeys(loads, 0.0)

    def current_ua(self) -> float:
        return sum(load() for load in self.loads.values())

    def voltage_mv(self) -> int:
        return self.cell.voltage_mv(self.current_ua())

    def draw(self, duration_us: int) -> None:
        if self.docked:
            return
        total = 0.0
        for name, load in self.loads.items():
            current = load()
            total += current
            self.used_uah[name] += current * duration_us / 3_600_000_000
        self.cell.draw(total, duration_us)
