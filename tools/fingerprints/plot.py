"""The DET curve as a picture. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_RATES = (1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3)
_DASHED: dict[str, Any] = {"linestyle": "--", "linewidth": 0.8, "color": "#999999"}


def draw(result: dict[str, Any], path: Path) -> None:
    """False match rate across, refused log-ins up, both on normal-deviate scales (Martin and
    others, 1997). The rule is drawn in: 1:10,000 and 3 %."""
    mpl.use("Agg")
    figure = Figure(figsize=(7.2, 5.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    curves = (("one try", 2, "#c2571a"), ("up to three tries", 3, "#1f5f8b"))
    for name, column, colour in curves:
        points = [(p[1], p[column]) for p in result["curve"] if p[1] > 0 and p[column] > 0]
        axes.plot(
            [_deviate(x) for x, _ in points], [_deviate(y) for _, y in points],
            color=colour, linewidth=1.8, label=name,
        )  # fmt: skip
    for level in result["levels"]:
        _mark(axes, level)
    axes.axvline(_deviate(1e-4), label="aims: at most 1:10,000 and 3 %", **_DASHED)
    axes.axhline(_deviate(0.03), **_DASHED)
    for axis, label in (
        (axes.xaxis, "false match, one probe against one finger"),
        (axes.yaxis, "log-in refused"),
    ):
        axis.set_ticks([_deviate(rate) for rate in _RATES], [_percent(rate) for rate in _RATES])
        axis.set_label_text(label)
    axes.set_xlim(_deviate(2e-6), _deviate(0.3))
    axes.set_ylim(_deviate(1e-4), _deviate(0.3))
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_title(
        f"{result['fingers']} synthetic fingers, {result['impostor_pairs']:,} impostor pairs, "
        f"{result['log_ins']:,} log-ins",
        fontsize=10,
    )
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Software": None})


def _mark(axes: Any, level: dict[str, Any]) -> None:
    """The level's point on the three-tries curve with its 95 % intervals."""
    match, refused = level["false_match"], level["refused_three_tries"]
    if not match["events"] or not refused["events"]:
        return
    x, y = _deviate(match["rate"]), _deviate(refused["rate"])
    axes.plot([_deviate(v) for v in match["exact"]], [y, y], color="#1f5f8b", linewidth=0.8)
    axes.plot([x, x], [_deviate(v) for v in refused["exact"]], color="#1f5f8b", linewidth=0.8)
    axes.plot([x], [y], "o", color="#1f5f8b", markersize=4)
    axes.annotate(
        f"level {level['level']}", (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8
    )


def _deviate(rate: float) -> float:
    return NormalDist().inv_cdf(min(max(rate, 1e-9), 1 - 1e-9))


def _percent(rate: float) -> str:
    return f"{rate * 100:g} %"
