"""Labels as SVG: one label, or one page of a sheet."""

from __future__ import annotations

from xml.sax.saxutils import escape

from tallystick.provisioning.labels.layout import Drawing, Stock


def write(drawings: list[Drawing], stock: Stock) -> str:
    """One SVG document. A sheet's document holds one page; more labels than that are an error of
    the caller (`pages` splits them)."""
    width, height = stock.page or (stock.width, stock.height)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}mm" height="{height}mm" '
        f'viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for index, drawing in enumerate(drawings):
        x, y = stock.position(index)
        parts.append(f'<g transform="translate({x:g} {y:g})">')
        parts.append(f'<path fill="#000" d="{_path(drawing)}"/>')
        for text in drawing.texts:
            weight = ' font-weight="bold"' if text.bold else ""
            parts.append(
                f'<text x="{text.x:.3f}" y="{text.y:.3f}" font-size="{text.size:.3f}" '
                f'font-family="Helvetica, Arial, sans-serif"{weight}>{escape(text.content)}</text>'
            )
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def pages(drawings: list[Drawing], stock: Stock) -> list[list[Drawing]]:
    """The drawings, as many on each page as it takes."""
    size = stock.columns * stock.rows
    return [drawings[at : at + size] for at in range(0, len(drawings), size)]


def _path(drawing: Drawing) -> str:
    return "".join(f"M{x:.4f} {y:.4f}h{w:.4f}v{h:.4f}h{-w:.4f}z" for x, y, w, h in drawing.bars)
