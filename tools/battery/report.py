"""From a life that was run to figures for people and machines, with their band of error."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

from tallystick.emulator.boards.board import Board
from tallystick.emulator.parts.cells import CellType
from tallystick.tools.battery.life import Life

# How far the charge of each part may be off, as a fraction: (less, more). See findings/battery.md.
SPREAD = {
    "chip": (0.25, 0.45),
    "chip asleep": (0.5, 0.6),
    "flash": (0.3, 0.3),
    "display": (0.4, 1.0),
    "button": (0.5, 0.7),
    "leakage": (0.7, 2.0),
    "self-discharge": (0.5, 1.0),
}
_OF_A_PART = (0.5, 1.0)


@dataclass(frozen=True)
class Report:
    """`years` is how long the cell lasts: run to its end, or from what was used so far."""

    board: Board
    cell: CellType
    temperature_c: float
    presses_per_day: int
    life: Life
    firmware: str = ""  # somebody's own: of a card's there is more to say

    @property
    def _electrical_years(self) -> float:
        life = self.life
        if life.exhausted:
            return life.last_code or 0.0
        return life.usable_uah * life.simulated_years / sum(life.used_uah.values())

    @property
    def years(self) -> float:
        return min(self._electrical_years, self.cell.shelf_years)

    @property
    def limit(self) -> str:
        if self._electrical_years >= self.cell.shelf_years:
            return "shelf life of the cell"
        return "charge" if self.life.exhausted else "charge, from the use so far"

    def band(self) -> tuple[float, float]:
        """The years at the ends of the spreads, which are independent of one another."""
        total = sum(self.life.used_uah.values())
        more = sqrt(
            sum((_spread(part)[1] * used / total) ** 2 for part, used in self.life.used_uah.items())
            + self.cell.tolerance**2
        )
        less = sqrt(
            sum((_spread(part)[0] * used / total) ** 2 for part, used in self.life.used_uah.items())
            + self.cell.tolerance**2
        )
        low, high = self._electrical_years / (1 + more), self._electrical_years / max(0.2, 1 - less)
        return min(low, self.cell.shelf_years), min(high, self.cell.shelf_years)

    @property
    def uah_per_press(self) -> float:
        return sum(self.life.press_uah.values()) / max(1, self.life.presses)

    def share(self) -> dict[str, float]:
        """Fraction of all charge by part; the parts' add up to 1."""
        total = sum(self.life.used_uah.values()) or 1.0
        return {part: used / total for part, used in self.life.used_uah.items()}

    def as_dict(self) -> dict[str, Any]:
        """Years, µAh, seconds of wall time; see docs/findings/battery.md."""
        low, high = self.band()
        life = self.life
        if self.firmware:
            return self._of_firmware()
        asleep = self.board.currents.deep_sleep + self.board.currents.leakage
        return {
            "board": self.board.name,
            "cell": self.cell.name,
            "temperature_c": self.temperature_c,
            "presses_per_day": self.presses_per_day,
            "years": round(self.years, 2),
            "years_band": [round(low, 2), round(high, 2)],
            "limit": self.limit,
            "simulated_years": round(life.simulated_years, 3),
            "exhausted": life.exhausted,
            "presses": life.presses,
            "codes": life.codes,
            "uah_per_press": round(self.uah_per_press, 4),
            "press_uah": {
                part: round(used / max(1, life.presses), 5) for part, used in life.press_uah.items()
            },
            "sleep_ua": round(asleep, 3),
            "share": {part: round(part_share, 4) for part, part_share in self.share().items()},
            "used_uah": {part: round(used, 1) for part, used in life.used_uah.items()},
            "capacity_uah": round(life.capacity_uah, 1),
            "first_low_years": _rounded(life.first_low),
            "last_code_years": _rounded(life.last_code),
            "wall_seconds": round(life.wall_seconds, 2),
        }

    @property
    def average_ua(self) -> float:
        """Of all that was taken, over the whole run."""
        hours = self.life.simulated_years * 8766
        return sum(self.life.used_uah.values()) / hours if hours else 0.0

    def _of_firmware(self) -> dict[str, Any]:
        low, high = self.band()
        life = self.life
        return {
            "firmware": self.firmware,
            "board": self.board.name,
            "cell": self.cell.name,
            "temperature_c": self.temperature_c,
            "presses_per_day": self.presses_per_day,
            "years": round(self.years, 6),
            "years_band": [round(low, 6), round(high, 6)],
            "limit": self.limit,
            "simulated_years": round(life.simulated_years, 6),
            "exhausted": life.exhausted,
            "presses": life.presses,
            "average_ua": round(self.average_ua, 3),
            "share": {part: round(part_share, 4) for part, part_share in self.share().items()},
            "used_uah": {part: round(used, 3) for part, used in life.used_uah.items()},
            "capacity_uah": round(life.capacity_uah, 1),
            "wall_seconds": round(life.wall_seconds, 2),
        }


def _spread(part: str) -> tuple[float, float]:
    """Of a part of board.toml nothing is known but what it says of itself."""
    return SPREAD.get(part, _OF_A_PART)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
