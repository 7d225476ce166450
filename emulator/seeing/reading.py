"""Reads the code off an emulated glass, from its pixels alone, as a camera over a fixture would.

Lit segments stand apart from one another, so each is a connected area. Upright areas of one size,
one above the other, give the rows of digits; the flat ones between them give the digits' axes;
around each axis seven segments are sampled. Whatever is drawn in a row must be explained by its
digits, and a code has 6 to 8 of them: otherwise the answer is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.emulator.seeing.frames import Frame

_MIN_UPRIGHT = 9  # pixels: what is shorter belongs to text and icons
_DIGITS = {
    "abcdef": "0",
    "bc": "1",
    "abdeg": "2",
    "abcdg": "3",
    "bcfg": "4",
    "acdfg": "5",
    "acdefg": "6",
    "abc": "7",
    "abcdefg": "8",
    "abcdfg": "9",
}


@dataclass(frozen=True)
class _Area:
    """Edges of a connected area of drawn pixels, inclusive, and how many pixels it has."""

    left: int
    top: int
    right: int
    bottom: int
    count: int

    @property
    def width(self) -> int:
        return self.right - self.left + 1

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1

    @property
    def upright(self) -> bool:
        # A mitred segment fills most of its box; a letter or a frame does not.
        solid = 2 * self.count >= self.width * self.height
        return solid and self.height >= max(_MIN_UPRIGHT, 2 * self.width)


@dataclass(frozen=True)
class _Row:
    """A row of digits: its edges, the thickness of a segment, and what is drawn in it."""

    top: int
    bottom: int
    thick: int
    uprights: list[_Area]
    flats: list[_Area]


def read_code(frame: Frame) -> str | None:
    """The 6 to 8 digits shown, row after row, or None when that is not certain."""
    rows = _rows(_areas(frame))
    reach = _reach(rows)
    digits = ""
    for row in rows:
        read = _read_row(frame, row, reach)
        if read is None:
            return None
        digits += read
    return digits if 6 <= len(digits) <= 8 else None


def _areas(frame: Frame) -> list[_Area]:
    """Areas of drawn pixels that touch edge to edge. A run of pixels in a row is one with the runs
    of the row above that it touches."""
    width, pixels = frame.width, frame.pixels
    areas: dict[int, list[int]] = {}  # as in `_Area`
    above: list[tuple[int, int, int]] = []  # left, right, and of which area
    for y in range(frame.height):
        row: list[tuple[int, int, int]] = []
        begin, end = y * width, (y + 1) * width
        if y and pixels[begin:end] == pixels[begin - width : begin]:  # as most rows of a digit are
            for left, right, number in above:
                area = areas[number]
                area[3], area[4] = y, area[4] + right - left + 1
            continue
        start = pixels.find(1, begin, end)
        while start >= 0:
            stop = pixels.find(0, start, end)
            if stop < 0:
                stop = end
            left, right = start - begin, stop - begin - 1
            touched = [n for begun, over, n in above if begun <= right and over >= left]
            if not touched:
                areas[start] = [left, y, right, y, stop - start]
                number = start
            else:
                number = min(touched)
                area = areas[number]
                area[0], area[2] = min(area[0], left), max(area[2], right)
                area[3], area[4] = y, area[4] + stop - start
                for other in {*touched} - {number}:
                    _take_in(area, areas.pop(other))
                    above, row = _renamed(above, other, number), _renamed(row, other, number)
            row.append((left, right, number))
            start = pixels.find(1, stop, end)
        above = row
    return [_Area(*areas[number]) for number in sorted(areas)]


def _take_in(area: list[int], other: list[int]) -> None:
    area[0], area[1] = min(area[0], other[0]), min(area[1], other[1])
    area[2], area[3] = max(area[2], other[2]), max(area[3], other[3])
    area[4] += other[4]


def _renamed(runs: list[tuple[int, int, int]], old: int, new: int) -> list[tuple[int, int, int]]:
    return [(left, right, new if number == old else number) for left, right, number in runs]


def _rows(areas: list[_Area]) -> list[_Row]:
    """Rows of digits from the top; none when the upright segments do not pair up."""
    storeys: dict[int, list[_Area]] = {}
    for area in areas:
        if area.upright:
            storeys.setdefault(area.top, []).append(area)
    tops = sorted(storeys)
    if len(tops) % 2:
        return []
    rows = []
    for upper, lower in zip(tops[::2], tops[1::2], strict=True):
        uprights = storeys[upper] + storeys[lower]
        sizes = {(area.width, area.height) for area in uprights}
        if len(sizes) > 1:
            return []
        thick, height = sizes.pop()
        bottom = lower + height - 1
        if not 0 < lower - upper - height <= thick:
            return []
        flats = [
            area
            for area in areas
            if not area.upright and upper - thick <= area.top and area.bottom <= bottom + thick
        ]
        # A row may lack every upper or every lower flat segment: digits are symmetric.
        beyond = max(max(upper - area.top, area.bottom - bottom, 0) for area in (*uprights, *flats))
        top, bottom = upper - beyond, bottom + beyond
        inside = [area for area in areas if top <= area.bottom and area.top <= bottom]
        if len(inside) != len(uprights) + len(flats):
            return []
        rows.append(_Row(top, bottom, thick, uprights, flats))
    return rows


def _reach(rows: list[_Row]) -> int:
    """Twice the distance between the axes of a digit and of its upright segments.

    Every digit but 1 has a flat segment on its axis, and an upright one of its own, nearer than any
    neighbour's. 0 when nothing but the digit 1 is shown.
    """
    distances = [
        abs(flat.left + flat.right - upright.left - upright.right)
        for row in rows
        for flat in row.flats
        for upright in row.uprights
    ]
    return min(distances, default=0)


def _read_row(frame: Frame, row: _Row, reach: int) -> str | None:
    # Twice the axis of each digit. Only the digit 1 has no flat segment, and its own are on the
    # right.
    axes = {flat.left + flat.right for flat in row.flats}
    for upright in row.uprights:
        twice = upright.left + upright.right
        if not any(abs(abs(twice - axis) - reach) <= 1 for axis in axes):
            axes.add(twice - reach)
    digits = ""
    explained = 0
    for axis in sorted(axes):
        left = (axis - reach) // 2
        right = (axis + reach) // 2
        lit = _lit(frame, row, left, right) if reach else "bc"
        if lit not in _DIGITS:
            return None
        digits += _DIGITS[lit]
        explained += len(lit)
    return digits if explained == len(row.uprights) + len(row.flats) else None


def _lit(frame: Frame, row: _Row, left: int, right: int) -> str:
    """The lit segments of the digit whose upright segments have their axes at left and right, or
    "?" when a segment is lit in part.
    """
    half = row.thick // 2
    middle = (row.top + row.bottom) // 2
    third = (right - left) // 3
    sixth = (row.bottom - row.top) // 6
    across = range(left + third, right - third + 1)
    upper = range(row.top + sixth, middle - sixth + 1)
    lower = range(middle + sixth, row.bottom - sixth + 1)
    points = {
        "a": _along(frame, across, row.top + half),
        "b": _down(frame, right, upper),
        "c": _down(frame, right, lower),
        "d": _along(frame, across, row.bottom - half),
        "e": _down(frame, left, lower),
        "f": _down(frame, left, upper),
        "g": _along(frame, across, middle),
    }
    lit = ""
    for name, pixels in points.items():
        drawn = pixels.count(1)
        if drawn == len(pixels):
            lit += name
        elif drawn:
            return "?"
    return lit


def _along(frame: Frame, columns: range, y: int) -> bytes:
    """Pixels of a row; outside of the frame none is drawn."""
    if columns.start >= 0 and columns.stop <= frame.width and 0 <= y < frame.height:
        return frame.pixels[y * frame.width + columns.start : y * frame.width + columns.stop]
    return bytes(frame.at(x, y) for x in columns)


def _down(frame: Frame, x: int, rows: range) -> bytes:
    """Pixels of a column; outside of the frame none is drawn."""
    if 0 <= x < frame.width and rows.start >= 0 and rows.stop <= frame.height:
        first = rows.start * frame.width + x
        return frame.pixels[first : rows.stop * frame.width : frame.width]
    return bytes(frame.at(x, y) for y in rows)
