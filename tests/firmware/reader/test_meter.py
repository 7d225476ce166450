"""Thermometers in rows that are burnt once: they only grow, whatever fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Room = Callable[[str], Any]


class Rows:
    """As the chip's: bits only set. dead: bits that take no pulse, (row, bit)."""

    ROWS = 3136

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.dead: set[tuple[int, int]] = set()
        self.pulses = 0
        self.last: int | None = None  # pulses until power goes
        self.locked = False

    def read(self, row: int) -> int:
        assert 0 <= row < self.ROWS
        return self.rows.get(row, 0)

    def burn(self, row: int, bits: int) -> bool:
        assert 0 <= row < self.ROWS
        if self.locked:
            return False
        if self.last is not None:
            if not self.last:
                raise KeyboardInterrupt
            self.last -= 1
        self.pulses += 1
        lasting = sum(1 << n for n in range(24) if bits >> n & 1 and (row, n) not in self.dead)
        self.rows[row] = self.read(row) | lasting
        return True


@pytest.fixture(scope="module")
def meter(room: Room) -> Any:
    return room("reader.meter")


@pytest.mark.parametrize("place", ["TRIES", "STATES"])
def test_it_counts_to_its_end_and_says_so(meter: Any, place: str) -> None:
    rows, where = Rows(), getattr(meter, place)
    most = where[1] * 24
    assert most >= 2_000
    # All but the last few bits were burnt before.
    for word in range(where[1]):
        for copy in range(3):
            rows.rows[where[0] + 3 * word + copy] = 0xFFFFFF if word < where[1] - 1 else 0
    counter = meter.BurntMeter(rows, where)
    assert counter.value == most - 24
    for n in range(24):
        assert not counter.ended
        counter.grow()
        assert meter.BurntMeter(rows, where).value == counter.value == most - 23 + n
    assert counter.ended
    with pytest.raises(OSError, match="5"):
        counter.grow()


def test_the_two_do_not_meet(meter: Any) -> None:
    (first, words), (second, more) = meter.TRIES, meter.STATES
    assert first + 3 * words <= second and second + 3 * more <= Rows.ROWS - 1


def test_right_and_wrong_give_as_many_pulses(meter: Any) -> None:
    rows = Rows()
    counter = meter.BurntMeter(rows, meter.TRIES)
    for _ in range(30):
        before = rows.pulses
        counter.look_busy()
        assert rows.pulses - before == 3
        assert meter.BurntMeter(rows, meter.TRIES).value == counter.value
        before = rows.pulses
        counter.grow()
        assert rows.pulses - before == 3


def test_a_locked_page_is_an_error_and_no_count(meter: Any) -> None:
    rows = Rows()
    counter = meter.BurntMeter(rows, meter.TRIES)
    rows.locked = True
    with pytest.raises(OSError, match="5"):
        counter.grow()
    assert meter.BurntMeter(rows, meter.TRIES).value == 0


def test_one_dead_bit_of_three_costs_nothing(meter: Any) -> None:
    rows = Rows()
    rows.dead = {(0, 3), (1, 7), (2, 11), (0, 23)}
    counter = meter.BurntMeter(rows, meter.TRIES)
    for number in range(1, 26):
        counter.grow()
        assert counter.value == meter.BurntMeter(rows, meter.TRIES).value == number


def test_a_row_that_fails_counts_nothing(meter: Any) -> None:
    """Two of three rows count: neither bits that one has too many, nor a pulse that was cut."""
    rows = Rows()
    meter.BurntMeter(rows, meter.TRIES).grow()
    for copy in range(3):
        kept = dict(rows.rows)
        rows.rows[copy] = 0xFFFFFF
        rows.rows[3 + copy] = 1
        assert meter.BurntMeter(rows, meter.TRIES).value == 1
        rows.rows = kept
    for pulses, value in ((1, 1), (2, 2)):
        rows.last = pulses
        with pytest.raises(KeyboardInterrupt):
            meter.BurntMeter(rows, meter.TRIES).grow()
        rows.last = None
        assert meter.BurntMeter(rows, meter.TRIES).value == value


def test_three_bits_in_a_row_may_be_dead_and_four_are_an_error(meter: Any) -> None:
    """Where two of three copies take no pulse the bit is passed over."""
    rows = Rows()
    rows.dead = {(copy, bit) for copy in (0, 2) for bit in (0, 1, 2)}
    counter = meter.BurntMeter(rows, meter.TRIES)
    counter.grow()
    assert meter.BurntMeter(rows, meter.TRIES).value == counter.value == 4
    rows.dead = {(copy, bit) for copy in (0, 2) for bit in (4, 5, 6, 7)}
    with pytest.raises(OSError, match="5"):
        counter.grow()
    assert meter.BurntMeter(rows, meter.TRIES).value == 4


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 8), st.integers(0, 23)), max_size=5),
    st.lists(st.none() | st.integers(0, 2), max_size=60),
)
def test_it_only_grows_whatever_bit_is_dead_and_wherever_power_goes(
    meter: Any, dead: set[tuple[int, int]], cuts: list[int | None]
) -> None:
    """One dead bit of three copies changes nothing; two of them cost a bit of its life."""
    rows = Rows()
    rows.dead = dead
    value = 0
    for cut in cuts:
        counter = meter.BurntMeter(rows, meter.TRIES)
        assert counter.value >= value
        value = counter.value
        rows.last = cut
        try:
            counter.grow()
        except KeyboardInterrupt:
            rows.last = None
            assert meter.BurntMeter(rows, meter.TRIES).value >= value
        else:
            rows.last = None
            value = meter.BurntMeter(rows, meter.TRIES).value
            assert value == counter.value > 0
