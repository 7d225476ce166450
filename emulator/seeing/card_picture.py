"""A picture of the card as an object: body, glass, button, serial number."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tallystick.emulator.seeing.frames import Frame, Palette

# ISO/IEC 7810 ID-1: 85.60 × 53.98 mm, corner radius 3.18 mm; here 12 points to the millimetre.
_SCALE = 12
_WIDTH, _HEIGHT, _RADIUS = round(85.6 * _SCALE), round(53.98 * _SCALE), round(3.18 * _SCALE)
_MARGIN = 48
_BODY_TOP, _BODY_BOTTOM = (0x2B, 0x3A, 0x4A), (0x16, 0x1F, 0x2B)
_TEXT, _FAINT = (0xE8, 0xEE, 0xF2), (0x8A, 0x9B, 0xAA)


def draw(frame: Frame, palette: Palette, serial: str, *, pressed: bool = False) -> bytes:
    """PNG of the card lying on a light table. Same arguments, same bytes."""
    size = (_WIDTH + 2 * _MARGIN, _HEIGHT + 2 * _MARGIN)
    picture = Image.new("RGB", size, (0xF3, 0xF1, 0xEC))
    _shadow(picture)
    body = Image.new("RGB", (_WIDTH, _HEIGHT))
    pen = ImageDraw.Draw(body)
    for y in range(_HEIGHT):
        pen.line([(0, y), (_WIDTH, y)], fill=_between(_BODY_TOP, _BODY_BOTTOM, y / _HEIGHT))
    _glass(body, frame, palette)
    _button(pen, pressed)
    _notches(pen)
    pen.text((54, 470), "tallystick", fill=_TEXT, font=ImageFont.load_default(52))
    pen.text((56, 540), "one-time password card", fill=_FAINT, font=ImageFont.load_default(26))
    pen.text((56, 584), f"{serial[:5]} {serial[5:]}", fill=_FAINT, font=ImageFont.load_default(26))
    mask = Image.new("L", (_WIDTH, _HEIGHT), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, _WIDTH - 1, _HEIGHT - 1), _RADIUS, fill=255)
    picture.paste(body, (_MARGIN, _MARGIN), mask)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _between(a: tuple[int, int, int], b: tuple[int, int, int], part: float) -> tuple[int, int, int]:
    return tuple(round(x + (y - x) * part) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _shadow(picture: Image.Image) -> None:
    shadow = Image.new("L", picture.size, 0)
    box = (_MARGIN + 2, _MARGIN + 14, _MARGIN + _WIDTH - 2, _MARGIN + _HEIGHT + 14)
    ImageDraw.Draw(shadow).rounded_rectangle(box, _RADIUS, fill=110)
    picture.paste((0x60, 0x60, 0x66), mask=shadow.filter(ImageFilter.GaussianBlur(16)))


def _glass(body: Image.Image, frame: Frame, palette: Palette) -> None:
    scale = 3
    width, height = (frame.width + 8) * scale, (frame.height + 8) * scale
    left, top = 56, max(48, 236 - height // 2)
    pen = ImageDraw.Draw(body)
    pen.rounded_rectangle(
        (left - 12, top - 12, left + width + 12, top + height + 12), 14, (8, 11, 15)
    )
    glass = Image.open(io.BytesIO(frame.png(scale=scale, palette=palette))).convert("RGB")
    body.paste(glass, (left, top))


def _button(pen: ImageDraw.ImageDraw, pressed: bool) -> None:
    x, y, r = 800, 250, 96
    if not pressed:
        pen.ellipse((x - r - 4, y - r + 2, x + r + 4, y + r + 10), fill=(0x0C, 0x12, 0x19))
    edge, face = (
        ((0x3D, 0x52, 0x66), (0x2F, 0x42, 0x55))
        if pressed
        else ((0x5B, 0x77, 0x91), (0x46, 0x60, 0x79))
    )
    pen.ellipse((x - r, y - r, x + r, y + r), fill=edge)
    pen.ellipse((x - r + 7, y - r + 7, x + r - 7, y + r - 7), fill=face)
    pen.text((x, y), "press", fill=_TEXT, font=ImageFont.load_default(34), anchor="mm")


def _notches(pen: ImageDraw.ImageDraw) -> None:
    """The mark: notches as on a tally stick."""
    for k in range(7):
        x = 700 + 30 * k
        pen.line(
            [(x, 596 - (18 if k % 3 == 0 else 0)), (x + 12, 622)], fill=(0xC9, 0xA2, 0x5B), width=7
        )
