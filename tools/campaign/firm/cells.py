"""Whether a cell lasts as the battery's report says: what each card has drawn since it went into
service, beside what the report (`tools/battery`) gives for its presses and its hours, within the
report's band."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from tallystick.common.identity import Identity
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.tools.battery.life import MS_PER_YEAR, live
from tallystick.tools.battery.report import SPREAD
from tallystick.tools.personalise import personalise

_PRESSES_A_DAY = 4
_DAYS = 5
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class CellFigures:
    """Of one image, from the battery's report. Charges in µAh, currents in µA; less, more: how far
    all of it may be off, as fractions."""

    press_uah: float
    asleep_ua: float
    less: float
    more: float

    @classmethod
    def of(cls, image: Image) -> CellFigures:
        """A card of this image lives for some days, as in `tally battery`."""
        identity = Identity.derive("TS00000000", 20260101).encode()
        with Card(image, identity=identity, seed=1) as card:
            card.power_on()
            personalise(card)
            before = card.cell.used_uah
            life = live(card, _PRESSES_A_DAY, _DAYS / 365.25)
        total = sum(life.used_uah.values()) - before
        press = sum(life.press_uah.values())
        hours = life.simulated_years * MS_PER_YEAR / 3_600_000
        return cls(
            press / life.presses, (total - press) / hours, _spread(life.used_uah, total, 0),
            _spread(life.used_uah, total, 1),
        )  # fmt: skip

    def band(self, presses: int, hours: float) -> tuple[float, float]:
        """hours: of time, presses and sleep together. → what such a card draws, at least and at
        most, in µAh"""
        drawn = self.press_uah * presses + self.asleep_ua * hours
        return drawn * (1 - self.less), drawn * (1 + self.more)


def _spread(used_uah: dict[str, float], total: float, end: int) -> float:
    return sqrt(sum((SPREAD[part][end] * used / total) ** 2 for part, used in used_uah.items()))


@dataclass
class CellSeen:
    """Of one card, since it went into service."""

    began_us: int
    began_uah: float
    presses: int = 0
    cut_short: int = 0

    def wrong(self, used_uah: float, now_us: int, figures: CellFigures) -> str | None:
        """What is wrong with what it has drawn by now; None: nothing"""
        drawn, hours = used_uah - self.began_uah, (now_us - self.began_us) / _HOUR_US
        least, _ = figures.band(self.presses - self.cut_short, hours)
        _, most = figures.band(self.presses, hours)
        if least <= drawn <= most:
            return None
        return (
            f"has drawn {drawn:.1f} µAh in {hours:.0f} hours and {self.presses} presses; the "
            f"battery's report says {least:.1f} to {most:.1f}"
        )
