"""The page of a batch: each measurement with its limits, board after board, and what drifts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tallystick.tools.selftest.batch import BatchBoard, Series

_WIDE, _TALL, _EDGE = 720, 180, 12
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Batch: {title}</title>
<style>
  :root {{ color-scheme: light }}
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #16181c; background: #fff;
         max-width: 62rem; margin: 0 auto; padding: 1.5rem }}
  h1 {{ font-size: 1.6rem; margin: 0 0 .25rem }} h2 {{ font-size: 1.15rem; margin: 2.2rem 0 .4rem }}
  p {{ margin: .4rem 0 }}
  .drift, .bad {{ color: #a01c1c; font-weight: 600 }} .good {{ color: #1d6b3c; font-weight: 600 }}
  svg {{ display: block; width: 100%; height: auto; border: 1px solid #b9bfc7 }}
  .line {{ fill: none; stroke: #1f4e9c; stroke-width: 1.5 }} .dot {{ fill: #1f4e9c }}
  .out {{ fill: #a01c1c }} .mean, .sigma {{ stroke: #5b626c }}
  .sigma {{ stroke-dasharray: 3 5 }}
  .limit {{ stroke: #a01c1c; stroke-dasharray: 8 4 }}
  dl {{ display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; margin: .5rem 0 }}
  dl div {{ display: flex; gap: .4rem }} dt {{ color: #5b626c }}
  dd {{ margin: 0; font-variant-numeric: tabular-nums }}
  .wide {{ overflow-x: auto }} table {{ border-collapse: collapse; width: 100% }}
  caption {{ text-align: left; padding: .4rem 0 }}
  th, td {{ text-align: left; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #b9bfc7 }}
  @media print {{ body {{ padding: 0 }} section {{ break-inside: avoid }} }}
</style>
</head>
<body>
<main>
"""


def page(title: str, boards: Sequence[BatchBoard], found: Sequence[Series]) -> str:
    """HTML, complete in itself."""
    last = {board.serial: board for board in boards}
    bad = [board for board in last.values() if not board.good]
    drifting = [one.name for one in found if one.drift]
    out = [_HEAD.format(title=escape(title)), f"<h1>Batch: {escape(title)}</h1>"]
    good = '<span class="good">all within</span>'
    verdict = f'<span class="bad">{len(bad)} outside</span>' if bad else good
    drift = (
        f'<span class="drift">drift in {escape(", ".join(drifting))}</span>'
        if drifting
        else '<span class="good">no drift</span>'
    )
    out.append(f"<p>{len(last)} boards: {verdict} their limits; {drift}.</p>")
    out.append(
        "<p>Lines: mean, three sigma to each side (dotted), the firm's limits (dashed, red).</p>"
    )
    out += [_section(one) for one in found]
    if bad:
        out.append(_table(bad))
    return "\n".join([*out, "</main>", "</body>", "</html>", ""])


def _section(one: Series) -> str:
    facts = {
        "boards": str(len(one.values)),
        "mean": f"{one.mean:.4g}",
        "deviation": f"{one.deviation:.3g}",
        "least": f"{min(one.values):g}",
        "most": f"{max(one.values):g}",
    }
    if one.capability is not None:
        facts["Cpk"] = f"{one.capability:.2f}"
    words = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    drift = "".join(f'<p class="drift">{escape(line)}</p>' for line in one.drift)
    return f"<section><h2>{escape(one.name)}</h2><dl>{words}</dl>{drift}{_chart(one)}</section>"


def _chart(one: Series) -> str:
    marks = [one.mean, one.mean - 3 * one.sigma, one.mean + 3 * one.sigma, *one.values]
    limits = []
    if one.limit is not None:
        limits = [side for side in (one.limit.low, one.limit.high) if side is not None]
    low, high = min(marks + limits), max(marks + limits)
    span = high - low or 1.0

    def y(value: float) -> float:
        return round(_TALL - _EDGE - (value - low) / span * (_TALL - 2 * _EDGE), 1)

    step = (_WIDE - 2 * _EDGE) / max(1, len(one.values) - 1)
    points = [(round(_EDGE + n * step, 1), y(value)) for n, value in enumerate(one.values)]
    outside = set(one.outside())
    across = [("mean", one.mean), ("sigma", one.mean - 3 * one.sigma)]
    across += [("sigma", one.mean + 3 * one.sigma), *(("limit", side) for side in limits)]
    least, most = min(one.values), max(one.values)
    label = f"{one.name} of {len(one.values)} boards, from {least:g} to {most:g}"
    lines = "".join(
        f'<line class="{kind}" x1="0" x2="{_WIDE}" y1="{y(at)}" y2="{y(at)}"/>'
        for kind, at in across
    )
    dots = "".join(
        f'<circle class="{"out" if serial in outside else "dot"}" cx="{px}" cy="{py}" r="2.5">'
        f"<title>{escape(serial)}: {value:g}</title></circle>"
        for (px, py), serial, value in zip(points, one.serials, one.values, strict=True)
    )
    path = " ".join(f"{px},{py}" for px, py in points)
    return (
        f'<svg viewBox="0 0 {_WIDE} {_TALL}" role="img" aria-label="{escape(label)}">'
        f'{lines}<polyline class="line" points="{path}"/>{dots}</svg>'
    )


def _table(bad: Sequence[BatchBoard]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(board.serial)}</th><td>{escape(board.time)}</td>'
        f"<td>{escape('; '.join(board.problems))}</td></tr>"
        for board in bad
    )
    return (
        '<h2>Boards outside their limits</h2><div class="wide" tabindex="0" role="region" '
        'aria-label="Boards outside their limits"><table><thead><tr><th scope="col">Board</th>'
        '<th scope="col">Time</th><th scope="col">What</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
