"""One picture of a life: the cell's voltage over the years, and where the charge went."""

from __future__ import annotations

from pathlib import Path

from tallystick.emulator.instruments.canvas import Canvas, Png, Point, Svg
from tallystick.tools.battery.report import Report

FORMATS = (".svg", ".png")

_WIDTH, _HEIGHT = 860, 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 830, 106, 336
_INK, _SOFT, _GRID = "#1d2733", "#5b6875", "#dfe4e9"
_VOLTAGE, _LOW, _CRITICAL = "#0b6bcb", "#b45f06", "#b3261e"
_COLOURS = ("#0b6bcb", "#2a9d8f", "#e9a23b", "#8e5bb5", "#c8553d", "#7a8794", "#3d4f5f")
_MV = (2000, 3200)
# Where the firmware's own judgement lies, firmware/card/cell.py.
_LINES = ((2550, _LOW, "low"), (2300, _CRITICAL, "critical"))


def draw(report: Report, path: Path) -> None:
    """Writes the picture in the format of the path's ending, one of FORMATS."""
    low, high = report.band()
    title = f"{report.years:.1f} years ({low:.1f} to {high:.1f})"
    kind = Svg if path.suffix == ".svg" else Png
    canvas: Canvas = kind(_WIDTH, _HEIGHT, f"Life of a card: {title}")
    canvas.box((0, 0), (_WIDTH, _HEIGHT), "#ffffff")
    canvas.text((_LEFT - 46, 34), title, _INK, size=22, bold=True)
    facts = (
        f"{report.board.name}, {report.cell.title}, {report.presses_per_day} presses a day, "
        f"{report.temperature_c:g} °C; {report.uah_per_press:.3f} µAh a press"
    )
    canvas.text((_LEFT - 46, 62), facts, _SOFT)
    _voltage(canvas, report)
    _shares(canvas, report)
    canvas.save(path)


def _voltage(canvas: Canvas, report: Report) -> None:
    end = max(report.life.simulated_years, 1e-6)

    def at(years: float, mv: float) -> Point:
        part = (min(max(mv, _MV[0]), _MV[1]) - _MV[0]) / (_MV[1] - _MV[0])
        return _LEFT + (_RIGHT - _LEFT) * years / end, _BOTTOM - (_BOTTOM - _TOP) * part

    for mv in range(_MV[0], _MV[1] + 1, 200):
        x, y = at(0, mv)
        canvas.line([(x, y), (_RIGHT, y)], _GRID)
        canvas.text((x - 8, y), f"{mv / 1000:.1f}", _SOFT, anchor="end", size=12)
    canvas.text((_LEFT - 46, _TOP - 18), "V, at the running current", _SOFT, size=12)
    for years in _ticks(end):
        x, y = at(years, _MV[0])
        canvas.line([(x, y), (x, y + 5)], _SOFT)
        canvas.text((x, y + 17), f"{years:g}", _SOFT, anchor="middle", size=12)
    canvas.text((_RIGHT, _BOTTOM + 36), "years", _SOFT, anchor="end", size=12)
    for mv, colour, name in _LINES:
        x, y = at(0, mv)
        for dash in range(int(x), _RIGHT, 10):
            canvas.line([(dash, y), (min(dash + 5, _RIGHT), y)], colour)
        canvas.text((x + 6, y + 10), name, colour, size=12)
    canvas.line([at(one.years, one.mv) for one in report.life.samples], _VOLTAGE, 2.0)
    marks = ((report.life.first_low, _LOW, "first low"), (report.life.last_code, _INK, "last code"))
    for number, (instant, colour, name) in enumerate(marks):
        if instant is None or (name == "last code" and not report.life.exhausted):
            continue
        x, y = at(instant, _MV[1])
        canvas.line([(x, y), (x, _BOTTOM)], colour, 1.5)
        words = f"{name} {instant:.2f}"
        canvas.text((x - 6, y + 12 + 18 * number), words, colour, anchor="end", size=12)


# A run ends with a press, not with the year: a tick a hundredth of a step later is at its end.
_LATE = 0.01


def _ticks(end: float) -> list[float]:
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if end / step <= 10)
    return [round(step * number, 2) for number in range(int(end / step + _LATE) + 1)]


def _shares(canvas: Canvas, report: Report) -> None:
    """One bar of all charge, and a legend below it."""
    top = 404
    canvas.text((_LEFT - 46, top - 14), "where the charge went", _SOFT, size=12)
    shares = sorted(report.share().items(), key=lambda item: -item[1])
    x = float(_LEFT - 46)
    width = _RIGHT - x
    for (_, share), colour in zip(shares, _COLOURS, strict=False):
        canvas.box((x, top), (max(share * width, 0.5), 30), colour)
        x += share * width
    for number, ((part, share), colour) in enumerate(zip(shares, _COLOURS, strict=False)):
        left = _LEFT - 46 + (number % 3) * 270
        y = top + 60 + (number // 3) * 28
        used = report.life.used_uah[part]
        canvas.box((left, y - 6), (12, 12), colour)
        canvas.text((left + 20, y), f"{part}  {share:.1%}  {used:,.0f} µAh", _INK)
    canvas.text(
        (_LEFT - 46, _HEIGHT - 18),
        "Every press run on the firmware; currents, cell and spreads: docs/findings/battery.md",
        _SOFT, size=11,
    )  # fmt: skip
