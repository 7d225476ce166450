"""Lines, boxes and words, as SVG or as PNG."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html import escape
from pathlib import Path
from typing import Literal, NamedTuple

from tallystick.common.errors import BadInputError

Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


class Lettering(NamedTuple):
    """How words look. size: pixels."""

    colour: str
    size: int
    anchor: Anchor
    bold: bool


class Canvas(ABC):
    """Coordinates, `size` and `width` in pixels from the top left, colours as #rrggbb."""

    @abstractmethod
    def box(self, at: Point, size: Point, colour: str) -> None: ...

    @abstractmethod
    def line(self, points: list[Point], colour: str, width: float = 1.0) -> None: ...

    def text(
        self,
        at: Point,
        words: str,
        colour: str,
        *,
        size: int = 13,
        anchor: Anchor = "start",
        bold: bool = False,
    ) -> None:
        """`at` is the middle of the line's height, at its start, middle or end."""
        self._write(at, words, Lettering(colour, size, anchor, bold))

    @abstractmethod
    def _write(self, at: Point, words: str, look: Lettering) -> None: ...

    @abstractmethod
    def save(self, path: Path) -> None: ...


class Svg(Canvas):
    """A text file. `width` and `height` in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" '
            f'font-family="system-ui, sans-serif">\n<title>{escape(title)}</title>'
        ]

    def box(self, at: Point, size: Point, colour: str) -> None:
        self._parts.append(
            f'<rect x="{at[0]:.1f}" y="{at[1]:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" '
            f'fill="{colour}"/>'
        )

    def line(self, points: list[Point], colour: str, width: float = 1.0) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            'stroke-linejoin="round"/>'
        )

    def _write(self, at: Point, words: str, look: Lettering) -> None:
        weight = ' font-weight="600"' if look.bold else ""
        self._parts.append(
            f'<text x="{at[0]:.1f}" y="{at[1] + look.size * 0.35:.1f}" font-size="{look.size}" '
            f'fill="{look.colour}" text-anchor="{look.anchor}"{weight}>{escape(words)}</text>'
        )

    def save(self, path: Path) -> None:
        path.write_text("\n".join([*self._parts, "</svg>"]) + "\n", encoding="utf-8")


class Png(Canvas):
    """Drawn at twice the size, so that it is sharp on any screen. `width` in pixels of a canvas."""

    def __init__(self, width: int, height: int, title: str) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 (an optional extra)
        except ImportError as error:
            raise BadInputError(
                "A picture as .png needs Pillow, which is not installed.",
                todo="Name it .svg, or: pip install 'tallystick[pictures]'",
            ) from error
        self._title = title
        self._font = ImageFont.load_default
        self._image = Image.new("RGB", (width * 2, height * 2), "#ffffff")
        self._draw = ImageDraw.Draw(self._image)

    def box(self, at: Point, size: Point, colour: str) -> None:
        if size[0] * 2 < 1 or size[1] * 2 < 1:
            return
        corners = (at[0] * 2, at[1] * 2, (at[0] + size[0]) * 2 - 1, (at[1] + size[1]) * 2 - 1)
        self._draw.rectangle(corners, fill=colour)

    def line(self, points: list[Point], colour: str, width: float = 1.0) -> None:
        doubled = [(x * 2, y * 2) for x, y in points]
        self._draw.line(doubled, fill=colour, width=max(1, round(width * 2)), joint="curve")

    def _write(self, at: Point, words: str, look: Lettering) -> None:
        colour, size = look.colour, look.size
        font = self._font(size * 2)
        where = {"start": "lm", "middle": "mm", "end": "rm"}[look.anchor]
        stroke = 1 if look.bold else 0
        plain = words.replace("µ", "u")  # the built-in font has no µ: a u gets its stroke
        x, y = at[0] * 2, at[1] * 2
        self._draw.text((x, y), plain, fill=colour, font=font, anchor=where, stroke_width=stroke)
        left = self._draw.textbbox((x, y), plain, font=font, anchor=where)[0]
        for at_character in (number for number, one in enumerate(words) if one == "µ"):
            stem = left + font.getlength(plain[:at_character]) + size * 0.16
            foot = self._draw.textbbox((x, y), "u", font=font, anchor=where)[3]
            box = (stem, foot - size * 0.6, stem + max(1, size * 0.12), foot + size * 0.38)
            self._draw.rectangle(box, fill=colour)

    def save(self, path: Path) -> None:
        self._image.save(path, "PNG")
