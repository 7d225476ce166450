"""Seven-segment digits of any size, and text, drawn into a display's frame buffer.

Segments have mitred ends with a gap between them, like the glass of a one-time-password token: a
person tells 5 from 6 at arm's length, and a camera can sample them.
"""

import framebuf
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Display

#     a
#   f   b
#     g
#   e   c
#     d
# Bit 0 is a, bit 6 is g.
_SEGMENTS = b"\x3f\x06\x5b\x4f\x66\x6d\x7d\x07\x7f\x6f"


def digit(
    display: "Display", x: int, y: int, width: int, height: int, thick: int, value: int
) -> None:
    """Draw 0 to 9 into the box at x, y. Symmetric when height and thick are odd."""
    fb = display.fb
    ink = display.ink
    lit = _SEGMENTS[value]
    gap = 1 if thick < 6 else 2
    right = x + width - 1
    bottom = y + height - 1
    middle = (height - 1) // 2
    tip = (thick - 1) // 2
    for i in range(thick):
        # Rows of the flat segments from the outside in, columns of the upright ones likewise. The
        # mitre is cut off on the outside: corners are round, and lone segments have no spikes.
        mitre = max(i, thick // 2 - i) + gap
        across = width - 2 * mitre
        slant = (abs(2 * i - thick + 1) + 1) // 2
        if lit & 0x01:
            fb.hline(x + mitre, y + i, across, ink)
        if lit & 0x08:
            fb.hline(x + mitre, bottom - i, across, ink)
        if lit & 0x40:
            start = tip + gap + slant
            fb.hline(x + start, y + (height - thick) // 2 + i, width - 2 * start, ink)
        # Towards the middle only the inner half gives way to the middle segment.
        length = middle - gap - mitre + 1 - (slant if 2 * i >= thick else 0)
        if lit & 0x02:
            fb.vline(right - i, y + mitre, length, ink)
        if lit & 0x04:
            fb.vline(right - i, bottom - mitre - length + 1, length, ink)
        if lit & 0x10:
            fb.vline(x + i, bottom - mitre - length + 1, length, ink)
        if lit & 0x20:
            fb.vline(x + i, y + mitre, length, ink)


def text(display: "Display", string: str, x: int, y: int, ink: int) -> None:
    """Draw text in framebuf's font, 8 × 8 pixels a character."""
    display.fb.text(string, x, y, ink)


def big_text(display: "Display", string: str, x: int, y: int, ink: int) -> None:
    """Draw text at twice the size, 16 × 16 pixels a character, with stairs smoothed."""
    glyph = framebuf.FrameBuffer(bytearray(8), 8, 8, framebuf.MONO_HLSB)
    for character in string:
        glyph.fill(0)
        glyph.text(character, 0, 0, 1)
        _double(display.fb, glyph, x, y, ink)
        x += 16


def _double(
    fb: "framebuf.FrameBuffer", glyph: "framebuf.FrameBuffer", x: int, y: int, ink: int
) -> None:
    for row in range(8):
        for column in range(8):
            up = row > 0 and glyph.pixel(column, row - 1)
            down = row < 7 and glyph.pixel(column, row + 1)
            left = column > 0 and glyph.pixel(column - 1, row)
            right = column < 7 and glyph.pixel(column + 1, row)
            here = glyph.pixel(column, row)
            # Scale2x: a quarter takes the colour of the two neighbours that agree at its corner.
            smooth = up != down and left != right
            left_x = x + 2 * column
            top_y = y + 2 * row
            if left if smooth and left == up else here:
                fb.pixel(left_x, top_y, ink)
            if right if smooth and right == up else here:
                fb.pixel(left_x + 1, top_y, ink)
            if left if smooth and left == down else here:
                fb.pixel(left_x, top_y + 1, ink)
            if right if smooth and right == down else here:
                fb.pixel(left_x + 1, top_y + 1, ink)
