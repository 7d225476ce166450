"""A measured press beside the predicted one: aligned by phase, and which part is off.

Both are cut into stretches in which the chip runs and in which it does not. Stretches are paired in
order, each measured one is laid over its predicted one from end to end, and one factor for each
part is found with which the parts' predicted currents give the measured one (least squares). What
takes longer than predicted shows in the stretches' lengths.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tallystick.common.errors import BadInputError
from tallystick.tools.battery.prediction import ASLEEP, Prediction
from tallystick.tools.battery.traces import CurrentTrace, Floats

OFF = 0.05
"""A part that is further off than this fraction is named."""
START, WAKES = "time from press to code", "time of a wake-up while the code is up"

_RUNS_UA = 700.0  # above any light sleep with the button down, below any chip that works
_GAP_MS = 0.3  # what is shorter is noise, or a sample between two
_SHORTEST_SLEEP_MS = 20.0
_PIECE_MS = 2.0


@dataclass(frozen=True)
class PartFactor:
    """`ratio`: measured over predicted. `uah`: of the press, as predicted; for times what the chip
    takes meanwhile."""

    name: str
    ratio: float
    uah: float

    @property
    def off(self) -> bool:
        return abs(self.ratio - 1) > OFF

    @property
    def difference_uah(self) -> float:
        return (self.ratio - 1) * self.uah


@dataclass(frozen=True)
class Comparison:
    """Charges of the press in µAh; `factors` with the largest difference first."""

    predicted_uah: float
    measured_uah: float
    factors: list[PartFactor]

    @property
    def culprit(self) -> PartFactor | None:
        return next((factor for factor in self.factors if factor.off), None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "predicted_uah": round(self.predicted_uah, 4),
            "measured_uah": round(self.measured_uah, 4),
            "off": None if self.culprit is None else self.culprit.name,
            "factors": [
                {
                    "name": factor.name,
                    "ratio": round(factor.ratio, 4),
                    "predicted_uah": round(factor.uah, 5),
                    "difference_uah": round(factor.difference_uah, 5),
                    "off": factor.off,
                }
                for factor in self.factors
            ],
        }


def compare(prediction: Prediction, measured: CurrentTrace) -> Comparison:
    """Raises BadInputError for a trace that is not one press, from asleep to asleep."""
    ours, theirs = _stretches(prediction.trace), _stretches(measured)
    if len(theirs) < 3 or len(ours) != len(theirs):
        raise BadInputError(
            f"The trace has {len(theirs) // 2} stretches in which the chip runs, the prediction "
            f"{len(ours) // 2}: it is not one press on a card in service, from asleep to asleep.",
            todo="Trace one short press, from half a second before it until the glass is dark, "
            "with a peak range that shows 0.1 µA.",
        )
    ratios = _fit(prediction, ours, measured, theirs)
    charge = _charges(prediction, ours)
    factors = [
        PartFactor(part, float(ratio), uah)
        for part, ratio, uah in zip(prediction.parts, ratios, charge, strict=True)
        if uah > 0
    ]
    running = prediction.trace.ua
    for name, chosen in ((START, slice(1, 2)), (WAKES, slice(3, -1, 2))):
        mine, other = (sum(b - a for a, b in one[chosen]) for one in (ours, theirs))
        if mine > 0:
            uah = sum(_integral(prediction.trace.ms, running, a, b) for a, b in ours[chosen])
            factors.append(PartFactor(name, other / mine, uah))
    factors.sort(key=lambda factor: -abs(factor.difference_uah))
    return Comparison(
        _integral(prediction.trace.ms, running, ours[1][0], ours[-1][0]),
        _integral(measured.ms, measured.ua, theirs[1][0], theirs[-1][0]),
        factors,
    )


Stretch = tuple[float, float]


def _stretches(trace: CurrentTrace) -> list[Stretch]:
    """(From, to) in ms, in turn not running and running; the first and the last are asleep."""
    runs = trace.ua > _RUNS_UA
    edges = np.flatnonzero(runs[1:] != runs[:-1]) + 1
    times = [float(trace.ms[0]), *(float(trace.ms[at]) for at in edges), float(trace.ms[-1])]
    stretches = list(itertools.pairwise(times))
    if runs[0] or runs[-1]:
        return []
    merged: list[Stretch] = []
    for number, (begin, end) in enumerate(stretches):
        # An odd number of stretches lies behind: this one would be of the other kind.
        is_short = end - begin < _GAP_MS and 0 < number < len(stretches) - 1
        same_kind = merged and (len(merged) - 1) % 2 == number % 2
        if merged and (is_short or same_kind):
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    asleep = [end - begin >= _SHORTEST_SLEEP_MS for begin, end in (merged[0], merged[-1])]
    return merged if all(asleep) and len(merged) % 2 else []


def _fit(
    prediction: Prediction, ours: list[Stretch], measured: CurrentTrace, theirs: list[Stretch]
) -> Floats:
    """The factor of each part, from the charges of short pieces of the stretches. A stretch counts
    by its time and relative to its own current, so that sleep is fitted as well as work."""
    parts = len(prediction.parts)
    normal, right = np.zeros((parts, parts)), np.zeros(parts)
    taken = _charge_so_far(measured.ms, measured.ua)
    should = [
        _charge_so_far(prediction.trace.ms, prediction.parts_ua[:, number])
        for number in range(parts)
    ]
    for (a, b), (c, d) in zip(ours, theirs, strict=True):
        at = np.linspace(0.0, 1.0, max(1, round((d - c) / _PIECE_MS)) + 1)
        charges = np.diff(np.interp(c + at * (d - c), measured.ms, taken)) / (d - c)
        rows = np.array(
            [np.diff(np.interp(a + at * (b - a), prediction.trace.ms, one)) for one in should]
        ).T / (b - a)
        weight = len(charges) / max(float(charges.sum()), 1e-6) ** 2
        normal += weight * rows.T @ rows
        right += weight * rows.T @ charges
    used = np.diag(normal) > 0
    factors = np.ones(parts)
    factors[used] = np.linalg.lstsq(normal[np.ix_(used, used)], right[used], rcond=None)[0]
    return factors


def _charge_so_far(ms: Floats, ua: Floats) -> Floats:
    """µA·ms at each instant; a row holds until the next."""
    return np.concatenate([[0.0], np.cumsum(ua[:-1] * np.diff(ms))])


def _charges(prediction: Prediction, ours: list[Stretch]) -> list[float]:
    """Of the press, by part; of sleep what a minute takes."""
    begin, end = ours[1][0], ours[-1][0]
    charges = []
    for number, part in enumerate(prediction.parts):
        column = prediction.parts_ua[:, number]
        if part == ASLEEP:
            charges.append(float(column[0]) / 60)
        else:
            charges.append(_integral(prediction.trace.ms, column, begin, end))
    return charges


def _integral(ms: Floats, ua: Floats, begin: float, end: float) -> float:
    """µAh."""
    so_far = _charge_so_far(ms, ua)
    return float(np.interp(end, ms, so_far) - np.interp(begin, ms, so_far)) / 3_600_000
