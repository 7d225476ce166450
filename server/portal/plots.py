"""Plots as figures for a page: where each bar is, so that a template draws them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 560, 130  # of the drawing, in its own units
GAP = 6


@dataclass(frozen=True)
class Bar:
    """A piece of a column, from the top left. kind: which series, from 0."""

    x: float
    y: float
    width: float
    height: float
    kind: int


@dataclass(frozen=True)
class Plot:
    """label: of each column, with where its middle is. most: what the full height stands for.
    table: label → values, for whoever does not see it."""

    bars: list[Bar]
    labels: list[tuple[str, float]]
    most: int
    table: dict[str, list[int]]
    width: int = WIDTH
    height: int = HEIGHT


def bars(columns: Mapping[str, Sequence[int]]) -> Plot:
    """Stacked bars, a column for each label."""
    most = max([sum(values) for values in columns.values()] + [1])
    step = WIDTH / max(1, len(columns))
    found: list[Bar] = []
    labels = []
    for place, (label, values) in enumerate(columns.items()):
        top = float(HEIGHT)
        for kind, value in enumerate(values):
            height = HEIGHT * value / most
            top -= height
            if value:
                x = round(place * step + GAP / 2, 2)
                found.append(Bar(x, round(top, 2), round(step - GAP, 2), round(height, 2), kind))
        labels.append((label, round((place + 0.5) * step, 2)))
    return Plot(found, labels, most, {label: list(values) for label, values in columns.items()})
