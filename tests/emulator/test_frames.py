"""Pictures of a glass: the same frame gives the same bytes, and shows what was drawn."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tallystick.emulator.seeing.frames import MEMORY_LCD, OLED, Frame


@st.composite
def frames(draw, width=None, height=None):
    width = width or draw(st.integers(1, 12))
    height = height or draw(st.integers(1, 12))
    size = width * height
    pixels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    return Frame(width, height, bytes(pixels))


CORNER = Frame(4, 4, bytes([1, 0, 0, 0]) + bytes(12))


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_size_is_checked():
    with pytest.raises(ValueError, match="needs 12 pixels, not 3"):
        Frame(4, 3, b"\0\0\0")


def test_at_is_zero_outside():
    assert CORNER.at(0, 0) == 1
    assert [CORNER.at(*place) for place in ((-1, 0), (0, -1), (4, 0), (0, 4))] == [0] * 4


@given(frames(), st.sampled_from([MEMORY_LCD, OLED]), st.integers(1, 3), st.integers(0, 2))
def test_png_has_every_pixel_and_is_the_same_each_time(frame, palette, scale, margin):
    png = frame.png(scale, palette, margin)
    assert png == Frame(frame.width, frame.height, bytes(frame.pixels)).png(scale, palette, margin)
    image = opened(png)
    assert image.size == (
        (frame.width + 2 * margin) * scale,
        (frame.height + 2 * margin) * scale,
    )
    for y in range(frame.height):
        for x in range(frame.width):
            colour = image.getpixel(((x + margin) * scale, (y + margin) * scale))
            assert colour == (palette.ink if frame.at(x, y) else palette.paper)
    if margin:
        assert image.getpixel((0, 0)) == palette.margin


@given(frames(), frames())
def test_sha256_tells_frames_apart(first, second):
    assert (first.sha256() == second.sha256()) == (first == second)


def test_sha256_counts_the_shape():
    assert Frame(2, 3, bytes(6)).sha256() != Frame(3, 2, bytes(6)).sha256()


def test_sha256_is_public():
    """Golden files depend on it."""
    assert CORNER.sha256() == "bb43c8e89cf195d73a895d613129e6117a23060cb4c9cdc7accdbd1f29f16d25"


@given(frames())
def test_text_holds_every_pixel(frame):
    rows = frame.text().splitlines()
    assert len(rows) == -(-frame.height // 4)
    bits = {(0, 0): 1, (0, 1): 2, (0, 2): 4, (1, 0): 8, (1, 1): 16, (1, 2): 32, (0, 3): 64}
    bits[1, 3] = 128
    for y in range(frame.height):
        for x in range(frame.width):
            row = rows[y // 4].ljust(-(-frame.width // 2), "\u2800")
            dots = ord(row[x // 2]) - 0x2800
            assert bool(dots & bits[x % 2, y % 4]) == frame.at(x, y)


def test_ansi_is_half_blocks_in_the_palettes_colours():
    text = Frame(4, 3, bytes([1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 0])).ansi(OLED)
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == "▀▄█ \n▀   \n"
    assert "38;2;214;241;255" in text
    assert text.endswith("\x1b[0m\n")


def test_difference_shows_who_has_what():
    other = Frame(4, 4, bytes([0, 1, 0, 0]) + bytes(12))
    image = opened(CORNER.difference(other, scale=1))
    red, blue, white = (image.getpixel((x, 0)) for x in range(3))
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white == (255, 255, 255)
    same = opened(CORNER.difference(CORNER, scale=1))
    assert len(same.getcolors()) == 2


def test_difference_of_sizes_covers_both():
    assert opened(CORNER.difference(Frame(6, 2, bytes(12)), scale=1)).size == (6, 4)


def test_blank():
    assert Frame(2, 2, bytes(4)).blank
    assert not CORNER.blank
