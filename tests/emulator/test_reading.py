"""Reading codes from pixels. The digits here are drawn by this file, in another style than the
firmware's, so that the reader is held to what a seven-segment digit is, not to one drawing of it.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.emulator.seeing import reading
from tallystick.emulator.seeing.frames import Frame
from tallystick.emulator.seeing.reading import read_code

SEGMENTS = {
    "0": "abcdef",
    "1": "bc",
    "2": "abdeg",
    "3": "abcdg",
    "4": "bcfg",
    "5": "acdfg",
    "6": "acdefg",
    "7": "abc",
    "8": "abcdefg",
    "9": "abcdfg",
}


class Canvas:
    def __init__(self, width: int = 128, height: int = 128) -> None:
        self.width, self.height = width, height
        self.pixels = bytearray(width * height)

    def fill(self, x: int, y: int, width: int, height: int, value: int = 1) -> None:
        for row, column in itertools.product(range(y, y + height), range(x, x + width)):
            self.pixels[row * self.width + column] = value

    def digit(self, x: int, y: int, size: int, thick: int, segments: str) -> None:
        """Square-ended segments, `size` long, in a box of size + 2·thick by 2·size + 3·thick."""
        far, half, low = thick + size, thick + size, 2 * (thick + size)
        places = {
            "a": (thick, 0, size, thick),
            "g": (thick, half, size, thick),
            "d": (thick, low, size, thick),
            "f": (0, thick, thick, size),
            "b": (far, thick, thick, size),
            "e": (0, half + thick, thick, size),
            "c": (far, half + thick, thick, size),
        }
        for name in segments:
            left, top, width, height = places[name]
            self.fill(x + left, y + top, width, height)

    def row(self, x: int, y: int, size: int, thick: int, code: str) -> None:
        for character in code:
            self.digit(x, y, size, thick, SEGMENTS[character])
            x += size + 2 * thick + thick + 1

    @property
    def frame(self) -> Frame:
        return Frame(self.width, self.height, bytes(self.pixels))


codes = st.text("0123456789", min_size=6, max_size=8)


@settings(deadline=None)
@given(codes, st.integers(0, 10), st.integers(0, 10))
def test_one_row(code, x, y):
    canvas = Canvas(width=160)
    canvas.row(x, y, 9, 2, code)
    assert read_code(canvas.frame) == code


@settings(deadline=None)
@given(codes)
def test_two_rows_with_a_bar_and_a_word(code):
    canvas = Canvas()
    half = (len(code) + 1) // 2
    canvas.fill(4, 2, 20, 6)
    canvas.row(4, 12, 14, 4, code[:half])
    canvas.row(4, 64, 14, 4, code[half:])
    canvas.fill(4, 122, 90, 4)
    assert read_code(canvas.frame) == code


@pytest.mark.parametrize("code", ["12345", "123456789", "", "1"])
def test_too_few_or_too_many_digits_are_no_code(code):
    canvas = Canvas(256, 64)
    canvas.row(2, 4, 10, 3, code)
    assert read_code(canvas.frame) is None


def test_nothing_and_everything():
    assert read_code(Frame(128, 64, bytes(128 * 64))) is None
    assert read_code(Frame(128, 64, b"\1" * (128 * 64))) is None


def test_a_digit_that_is_none_makes_the_code_unreadable():
    valid = {lit: digit for digit, lit in SEGMENTS.items()}
    for count in range(1, 8):
        for segments in map("".join, itertools.combinations("abcdefg", count)):
            canvas = Canvas()
            canvas.row(2, 4, 10, 2, "28058")
            canvas.digit(2 + 5 * 17, 4, 10, 2, segments)
            expected = "28058" + valid[segments] if segments in valid else None
            assert read_code(canvas.frame) == expected, segments


@settings(deadline=None)
@given(codes, st.integers(0, 150), st.integers(16, 60), st.integers(1, 6), st.integers(1, 12))
def test_a_blot_never_gives_another_code(code, x, y, width, height):
    canvas = Canvas(width=160)
    canvas.row(2, 14, 10, 2, code)
    canvas.fill(x, y, width, height)
    assert read_code(canvas.frame) in (code, None)


@settings(deadline=None)
@given(codes, st.integers(0, 150), st.integers(14, 50), st.integers(1, 6), st.integers(1, 5))
def test_missing_pixels_never_give_another_code(code, x, y, width, height):
    canvas = Canvas(width=160)
    canvas.row(2, 14, 10, 2, code)
    canvas.fill(x, y, width, height, 0)
    assert read_code(canvas.frame) in (code, None)


@settings(deadline=None)
@given(st.binary(min_size=64 * 32, max_size=64 * 32))
def test_noise_is_no_code(noise):
    assert read_code(Frame(64, 32, bytes(value & 1 for value in noise))) is None


def _filled(frame: Frame) -> set[tuple[int, int, int, int, int]]:
    """Areas as a flood finds them: left, top, right, bottom, pixels."""
    waiting = {at for at, pixel in enumerate(frame.pixels) if pixel}
    found = set()
    while waiting:
        area = [waiting.pop()]
        for at in area:  # grows as it is walked
            x = at % frame.width
            near = {at - frame.width, at + frame.width}
            near |= {at - 1} if x else set()
            near |= {at + 1} if x < frame.width - 1 else set()
            area += near & waiting
            waiting -= near
        xs, ys = [at % frame.width for at in area], [at // frame.width for at in area]
        found.add((min(xs), min(ys), max(xs), max(ys), len(area)))
    return found


@given(st.integers(1, 24), st.data())
def test_areas_are_what_a_flood_fills(width: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 16))
    pixels = data.draw(st.lists(st.integers(0, 1), min_size=width * rows, max_size=width * rows))
    frame = Frame(width, rows, bytes(pixels))
    areas = reading._areas(frame)
    assert {(a.left, a.top, a.right, a.bottom, a.count) for a in areas} == _filled(frame)
    assert len(areas) == len(_filled(frame))
