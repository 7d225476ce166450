"""Cells that a card may have, as tables of their data sheets' curves.

Voltages and resistances are read off discharge and pulse curves of common makers at 20 °C; the
spread between makers and batches is `tolerance`. battery.md says where each figure comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class CellType:
    """Charge in mAh at a drain of a few µA, down to 2.0 V. Depth of discharge runs from 0 to 1."""

    name: str
    title: str
    capacity_mah: float
    tolerance: float  # of the capacity, as a fraction
    self_discharge_per_year: float  # fraction of the capacity, at 20 °C
    shelf_years: float  # what makers promise; no drain makes a cell last longer
    open_circuit_mv: Curve  # over depth of discharge
    resistance_ohm: Curve  # pulses of 0.1 to 1 s, over depth of discharge
    capacity_at: Curve  # usable fraction over temperature in °C


# Li/MnO2 is flat until four fifths are used, then falls. Fitted to a measured CR2032: 2.94 V at a
# tenth of the depth, 27 Ω at nine tenths (docs/findings/battery.md).
_MANGANESE_MV = (
    (0.0, 3200.0),
    (0.03, 3020.0),
    (0.1, 2940.0),
    (0.5, 2900.0),
    (0.8, 2830.0),
    (0.9, 2730.0),
    (0.95, 2600.0),
    (1.0, 2200.0),
)

CR2032 = CellType(
    name="CR2032",
    title="CR2032 coin cell, 20 × 3.2 mm",
    capacity_mah=225.0,
    tolerance=0.07,
    self_discharge_per_year=0.01,
    shelf_years=10.0,
    open_circuit_mv=_MANGANESE_MV,
    resistance_ohm=((0.0, 11.0), (0.5, 15.0), (0.8, 21.0), (0.9, 27.0), (1.0, 100.0)),
    capacity_at=((-20.0, 0.65), (0.0, 0.9), (20.0, 1.0), (60.0, 1.0)),
)
CR2016 = replace(
    CR2032,
    name="CR2016",
    title="CR2016 coin cell, 20 × 1.6 mm",
    capacity_mah=90.0,
    tolerance=0.08,
    resistance_ohm=((0.0, 17.0), (0.5, 23.0), (0.8, 31.0), (0.9, 40.0), (1.0, 150.0)),
)
# A laminated pouch: a large area makes up for what the thickness costs in resistance, its seam lets
# more moisture in than a crimped can.
CARD25 = CellType(
    name="CARD25",
    title="thin card cell, Li/MnO2 pouch, 0.45 mm, 25 mAh",
    capacity_mah=25.0,
    tolerance=0.1,
    self_discharge_per_year=0.02,
    shelf_years=7.0,
    open_circuit_mv=_MANGANESE_MV,
    resistance_ohm=((0.0, 14.0), (0.5, 20.0), (0.8, 32.0), (0.9, 55.0), (1.0, 140.0)),
    capacity_at=((-20.0, 0.4), (0.0, 0.85), (20.0, 1.0), (60.0, 1.0)),
)

CELLS = {cell.name: cell for cell in (CARD25, CR2016, CR2032)}


def interpolate(curve: Curve, x: float) -> float:
    """The curve at `x`, in its own units; its ends hold beyond them."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return curve[-1][1]
