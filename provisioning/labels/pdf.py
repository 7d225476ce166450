"""Labels as PDF, sheets page by page, single labels one a page."""

from __future__ import annotations

import io

from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas

from tallystick.provisioning.labels.fonts import font_for
from tallystick.provisioning.labels.layout import Drawing, Stock
from tallystick.provisioning.labels.svg import pages


def write(drawings: list[Drawing], stock: Stock) -> bytes:
    """The document; the same labels give the same bytes."""
    width, height = stock.page or (stock.width, stock.height)
    output = io.BytesIO()
    canvas = Canvas(output, pagesize=(width * mm, height * mm), invariant=1)
    canvas.setTitle("Card labels")
    for page in pages(drawings, stock):
        for index, drawing in enumerate(page):
            _draw(canvas, drawing, height, *stock.position(index))
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def _draw(canvas: Canvas, drawing: Drawing, height: float, left: float, top: float) -> None:
    """PDF counts upwards from the bottom of the page."""
    for x, y, w, h in drawing.bars:
        canvas.rect((left + x) * mm, (height - top - y - h) * mm, w * mm, h * mm, stroke=0, fill=1)
    for text in drawing.texts:
        canvas.setFont(font_for(text.content, bold=text.bold), text.size * mm)
        canvas.drawString((left + text.x) * mm, (height - top - text.y) * mm, text.content)
