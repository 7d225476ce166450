"""A picture on an emulated glass: what the eye would see, and how to keep, print and compare it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tallystick.common import png
from tallystick.common.png import RGB


@dataclass(frozen=True)
class Palette:
    """Colours of a glass: drawn pixels, all others, and the margin around them."""

    ink: RGB
    paper: RGB
    margin: RGB


MEMORY_LCD = Palette(ink=(0x1E, 0x26, 0x22), paper=(0xC9, 0xD2, 0xC0), margin=(0xBE, 0xC8, 0xB5))
OLED = Palette(ink=(0xD6, 0xF1, 0xFF), paper=(0x0B, 0x0E, 0x12), margin=(0x00, 0x00, 0x00))

_SAME_INK, _SAME_PAPER = (0x90, 0x90, 0x90), (0xFF, 0xFF, 0xFF)
_ONLY_FIRST, _ONLY_SECOND = (0xD0, 0x20, 0x20), (0x20, 0x60, 0xD0)

# Bit of a Braille cell (Unicode 10.0, chapter 21.1) by row and column of its 4 × 2 dots.
_BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True)
class Frame:
    """Width × height pixels, row by row from the top left, one byte each: 1 where a person sees
    something drawn (dark on a memory LCD, lit on an OLED), else 0.
    """

    width: int
    height: int
    pixels: bytes

    def __post_init__(self) -> None:
        if len(self.pixels) != self.width * self.height:
            raise ValueError(
                f"a frame of {self.width} × {self.height} needs {self.width * self.height} pixels, "
                f"not {len(self.pixels)}"
            )

    @property
    def blank(self) -> bool:
        """True when nothing is drawn."""
        return 1 not in self.pixels

    def at(self, x: int, y: int) -> int:
        """The pixel in column x, row y; 0 outside."""
        if 0 <= x < self.width and 0 <= y < self.height:
            return self.pixels[y * self.width + x]
        return 0

    def sha256(self) -> str:
        """Hex digest over size and pixels: the same for the same picture, on any machine."""
        return hashlib.sha256(b"%d %d\n" % (self.width, self.height) + self.pixels).hexdigest()

    def png(self, scale: int = 4, palette: Palette = MEMORY_LCD, margin: int = 4) -> bytes:
        """A PNG, scale points a pixel, with a margin in pixels. Same frame, same bytes."""
        side, outside = b"\2" * margin, [b"\2" * (self.width + 2 * margin)] * margin
        inside = [side + row + side for row in _rows(self.pixels, self.width)]
        colours = (palette.paper, palette.ink, palette.margin)
        return _png([*outside, *inside, *outside], colours, scale)

    def difference(self, other: Frame, scale: int = 4) -> bytes:
        """A PNG of two frames laid over one another: grey what both have, red what only this one
        has, blue what only the other has. The larger size of the two.
        """
        width, height = max(self.width, other.width), max(self.height, other.height)
        pixels = bytes(
            self.at(x, y) | other.at(x, y) << 1 for y in range(height) for x in range(width)
        )
        colours = (_SAME_PAPER, _ONLY_FIRST, _ONLY_SECOND, _SAME_INK)
        return _png(_rows(pixels, width), colours, scale)

    def ansi(self, palette: Palette = MEMORY_LCD) -> str:
        """For a terminal with 24-bit colour: half blocks, two pixels a character."""
        foreground = "\x1b[38;2;{};{};{}m".format(*palette.ink)
        background = "\x1b[48;2;{};{};{}m".format(*palette.paper)
        blocks = " ▀▄█"
        lines = (
            "".join(blocks[self.at(x, y) | self.at(x, y + 1) << 1] for x in range(self.width))
            for y in range(0, self.height, 2)
        )
        return "".join(f"{foreground}{background}{line}\x1b[0m\n" for line in lines)

    def text(self) -> str:
        """Plain text in Braille, eight pixels a character, without trailing blanks."""
        lines = []
        for top in range(0, self.height, 4):
            cells = []
            for left in range(0, self.width, 2):
                dots = sum(
                    bit
                    for dy, row in enumerate(_BRAILLE)
                    for dx, bit in enumerate(row)
                    if self.at(left + dx, top + dy)
                )
                cells.append(chr(0x2800 + dots))
            lines.append("".join(cells).rstrip("\u2800"))
        return "\n".join(lines) + "\n"


def _rows(pixels: bytes, width: int) -> list[bytes]:
    return [pixels[at : at + width] for at in range(0, len(pixels), width)]


def _png(rows: list[bytes], colours: tuple[RGB, ...], scale: int) -> bytes:
    large = [bytes(pixel for pixel in row for _ in range(scale)) for row in rows]
    lines = (line for line in large for _ in range(scale))
    return png.encode(len(large[0]), len(large) * scale, lines, colours)
