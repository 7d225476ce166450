"""Labels as ZPL II for thermal printers. The symbols go as a bitmap fitted to the printer's dots,
so that they are the same on every firmware; text uses the printer's scalable font."""

from __future__ import annotations

from PIL import Image, ImageDraw

from tallystick.provisioning.labels.layout import Drawing

MM_PER_INCH = 25.4


def dot_mm(dpi: int) -> float:
    """Printers of 203 and 300 dpi have 8 and 12 dots a millimetre."""
    return 1 / round(dpi / MM_PER_INCH)


def write(drawings: list[Drawing], dpi: int) -> str:
    """One ^XA…^XZ format a label."""
    return "".join(_label(drawing, round(1 / dot_mm(dpi))) for drawing in drawings)


def _label(drawing: Drawing, dots: int) -> str:
    bitmap = bitmap_of(drawing, dots)
    row = (bitmap.width + 7) // 8
    total = row * bitmap.height
    lines = [
        "^XA",
        "^CI28",
        f"^PW{bitmap.width}",
        f"^LL{bitmap.height}",
        f"^FO0,0^GFA,{total},{total},{row},{_hex(bitmap)}^FS",
    ]
    for text in drawing.texts:
        size = round(text.size * dots)
        left, baseline = round(text.x * dots), round(text.y * dots)
        lines.append(f"^FT{left},{baseline}^A0N,{size},{size}^FH_^FD{_escape(text.content)}^FS")
    return "\n".join([*lines, "^XZ", ""])


def bitmap_of(drawing: Drawing, dots: int) -> Image.Image:
    """Bars only; 1 is black in ZPL, so the picture is kept inverted."""
    size = (round(drawing.width * dots), round(drawing.height * dots))
    bitmap = Image.new("1", size, 0)
    pen = ImageDraw.Draw(bitmap)
    for x, y, w, h in drawing.bars:
        left, top = round(x * dots), round(y * dots)
        pen.rectangle((left, top, left + round(w * dots) - 1, top + round(h * dots) - 1), fill=1)
    return bitmap


def _hex(bitmap: Image.Image) -> str:
    return bitmap.tobytes().hex().upper()


def _escape(text: str) -> str:
    """^ and ~ begin commands, _ begins a hexadecimal byte."""
    return "".join(f"_{ord(c):02X}" if c in "^~_" else c for c in text)
