"""The small parts of the card in this interpreter: who it says it is, what its cell is taken for,
and what a finger does to its button."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import pytest

from tests.firmware.card.conftest import PERIOD

NORMAL, LOW, CRITICAL = range(3)
NONE, PRESS, HOLD, STUCK = range(4)


@pytest.fixture
def module(load: Callable[[str], Any]) -> Callable[[str], Any]:
    """A module of the card, by its name."""
    return lambda name: load(f"card.{name}")


# -- who it is ---------------------------------------------------------------------------------

SERIAL, KEYS, DATE, QR = b"TS00000042", bytes(range(1, 49)), b"date", bytes(range(100, 163))


def segment(head: bytes = b"TSID\x01", **changed: bytes) -> bytes:
    body = head + SERIAL + KEYS + DATE + QR
    return body + crc32(body).to_bytes(4, "little")


def identity(module: Any, data: bytes) -> tuple[Any, ...]:
    found = module("identity").Identity(data)
    return found.present, found.serial, found.transport, found.qr


@pytest.mark.parametrize("behind", [b"", b"\xff" * 20])
def test_a_card_is_who_the_factory_wrote(module: Any, behind: bytes) -> None:
    assert identity(module, segment() + behind) == (True, SERIAL, KEYS, QR)
    assert module("identity").SIZE == len(segment()) == 134


def test_a_damaged_segment_gives_no_keys(module: Any) -> None:
    for at in range(134):
        data = bytearray(segment())
        data[at] ^= 0x10
        assert identity(module, bytes(data)) == (False, b"0000000000", b"", b""), at


@pytest.mark.parametrize("head", [b"TSID\x02", b"TSID\x00", b"TSIM\x01", b"XSID\x01"])
def test_another_segment_gives_no_keys_whatever_its_sum(module: Any, head: bytes) -> None:
    assert identity(module, segment(head)) == (False, b"0000000000", b"", b"")


def test_blank_flash_is_nobody(module: Any) -> None:
    for blank in (b"\xff" * 134, bytes(134), b""):
        assert identity(module, blank) == (False, b"0000000000", b"", b"")


# -- its cell ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("previous", "critical_below", "low_below"),
    [(NORMAL, 2300, 2550), (LOW, 2300, 2650), (CRITICAL, 2450, 2650), (0xFF, 2300, 2550)],
)
def test_a_cell_is_judged_by_where_it_comes_from(
    module: Any, previous: int, critical_below: int, low_below: int
) -> None:
    judge = module("cell").judge
    for mv, state in (
        (0, CRITICAL),
        (critical_below - 1, CRITICAL),
        (critical_below, LOW),
        (low_below - 1, LOW),
        (low_below, NORMAL),
        (3600, NORMAL),
    ):
        assert judge(mv, previous) == state, (mv, previous)


def test_a_cell_is_measured_by_the_middle_of_five(module: Any) -> None:
    measure = module("cell").measure
    for order in permutations((0, 2400, 2500, 2900, 3600)):
        readings = list(order)
        assert measure(SimpleNamespace(cell_mv=readings.pop), NORMAL) == (2500, LOW)
        assert readings == []
    assert measure(SimpleNamespace(cell_mv=lambda: 2400), CRITICAL) == (2400, CRITICAL)


# -- its button --------------------------------------------------------------------------------


class Finger:
    """A board whose button changes level at given instants, its clock moved by waits alone."""

    def __init__(self, *edges: int, start: int = PERIOD - 700) -> None:
        self.edges, self.start, self.now = edges, start, 0
        self.waits: list[int] = []

    def ticks_ms(self) -> int:
        return (self.start + self.now) % PERIOD

    def button(self) -> int:
        return sum(edge <= self.now for edge in self.edges) & 1

    def wait(self, ms: int) -> None:
        assert ms > 0
        self.waits.append(ms)
        self.now = min([self.now + ms, *(edge for edge in self.edges if edge > self.now)])


def events(
    module: Any, *edges: int, until: int = 15_000, down: bool = False, timeout: int = 15_000
) -> list[tuple[int, int]]:
    board = Finger(*edges)
    button = module("button").Button(board, down)
    found = []
    while board.now < until:
        event = button.wait(min(timeout, until - board.now))
        if event:
            found.append((board.now, event))
    return found


@pytest.mark.parametrize("timeout", [7, 1000, 15_000])
@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((100, 119), []),  # a spark
        ((100, 120), []),
        ((100, 121), [(141, PRESS)]),
        ((100, 105, 108, 300, 303, 309), [(329, PRESS)]),  # bounces at both ends
        ((100, 1599), [(1619, PRESS)]),
        ((100, 1600), [(1620, PRESS)]),
        ((100, 1601), [(1600, HOLD)]),
        ((100, 5000), [(1600, HOLD)]),  # its release is no press
        ((100, 5000, 6000, 6300), [(1600, HOLD), (6320, PRESS)]),
        ((100, 5000, 6000, 9000), [(1600, HOLD), (7500, HOLD)]),
        ((100, 10_050), [(1600, HOLD)]),
        ((100, 14_000, 14_100, 14_300), [(1600, HOLD), (10_100, STUCK), (14_320, PRESS)]),
        ((100, 300, 400, 600), [(320, PRESS), (620, PRESS)]),
        ((100, 2000, 2010, 2100), [(1600, HOLD)]),  # a bounce while it is held ends no hold
    ],
)
def test_what_a_finger_does(
    module: Any, edges: tuple[int, ...], expected: list[tuple[int, int]], timeout: int
) -> None:
    assert events(module, *edges, timeout=timeout) == expected


def test_a_press_that_woke_the_card_counts(module: Any) -> None:
    """Its button is known to be down; nothing is waited for to believe it."""
    assert events(module, -5, 300, down=True) == [(320, PRESS)]
    assert events(module, -5, 2000, down=True) == [(1500, HOLD)]
    assert events(module, down=True, until=3000) == [(20, PRESS)]  # up again when first looked at


def test_a_stuck_button_costs_nothing_more(module: Any) -> None:
    board = Finger(0)
    button = module("button").Button(board)
    assert [button.wait(60_000) for _ in range(2)] == [HOLD, STUCK]
    board.waits.clear()
    assert button.wait(60_000) == NONE
    assert board.waits == [10_000] * 6


def test_nobody_is_waited_for_in_vain(module: Any) -> None:
    board = Finger()
    button = module("button").Button(board)
    assert (button.wait(0), board.waits) == (NONE, [])
    assert (button.wait(12_000), board.waits) == (NONE, [10_000, 2000])
