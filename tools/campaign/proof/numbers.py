"""Sequence numbers without end, told by where they are.

The newest record that is there for certain has a number of its own, `ANCHOR`. What is below it is
never reached again by counting: only the order is kept. What is above it is kept as it is, up to
`near` numbers from its neighbour; what is farther is somewhere, and stands far away. When a new
record is written there, the two may meet, or not: both are tried.
"""

from __future__ import annotations

from collections.abc import Iterable

ANCHOR = 1 << 20
_FAR = 1 << 12


def nearer(numbers: list[int], middle: int, near: int) -> dict[int, int]:
    """Those numbers (sorted), with others in their place. middle: which becomes the anchor."""
    below = [number for number in numbers if number < middle]
    to = {number: ANCHOR - place for place, number in enumerate(reversed(below), 1)}
    at, before = ANCHOR, middle
    for number in numbers[len(below) :]:
        at += number - before if number - before <= near else _FAR
        to[number], before = at, number
    return to


def apart(number: int, numbers: Iterable[int]) -> int:
    """How far the next of those is, when it stands far away and may be this one; or 0."""
    off = min((one for one in numbers if one >= number), default=number) - number
    return off if off >= _FAR // 2 else 0


def down_to(number: int, sequence: int, off: int) -> int:
    """What a number is when those from `sequence` on are `off` lower."""
    return number if number < sequence else number - off
