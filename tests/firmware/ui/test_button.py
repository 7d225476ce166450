"""The button, in virtual time, against a model that looks at it every millisecond."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

NONE, PRESS, HOLD, STUCK = range(4)

# MicroPython's side: a button that changes level at given times, and a clock that waits move.
BOARD = """
from time import ticks_add, ticks_diff

class Board:
    def __init__(self, edges, start):
        self.edges = edges
        self.start = start
        self.now = 0
        self.waits = 0

    def ticks_ms(self):
        return ticks_add(self.start, self.now)

    def button(self):
        return sum(edge <= self.now for edge in self.edges) & 1

    def wait(self, ms):
        assert ms > 0, ms
        self.waits += 1
        later = [edge for edge in self.edges if self.now < edge <= self.now + ms]
        self.now = later[0] if later else self.now + ms

def events(edges, start, until, timeout):
    board = Board(edges, start)
    seen = button.Button(board)
    result = []
    while board.now < until:
        event = seen.wait(min(timeout, until - board.now))
        if event:
            result.append((board.now, event))
    return result, board.waits
"""


def model(edges: list[int], until: int) -> list[tuple[int, int]]:
    events = []
    level = down = False
    since = pressed = 0
    told = NONE
    for now in range(until + 1):
        if (sum(edge <= now for edge in edges) & 1) != level:
            level, since = not level, now
        if level != down and now - since >= 20:
            down = level
            if down:
                pressed, told = since, NONE
            elif told == NONE:
                events.append((now, PRESS))
        if level and down:
            for event, after in ((HOLD, 1500), (STUCK, 10000)):
                if told == event - 1 - (event == HOLD) and now - pressed >= after:
                    told = event
                    events.append((now, event))
    return events


@pytest.fixture(scope="module")
def events(session):
    session.run(BOARD)

    def run(edges, until, start=0, timeout=1000):
        found, waits = session.value(f"events({edges}, {start}, {until}, {timeout})")
        return [tuple(event) for event in found], waits

    return run


bounces = st.lists(st.integers(1, 19), max_size=4)
lengths = st.one_of(
    st.integers(20, 400), st.integers(1400, 1600), st.integers(9900, 10200), st.integers(1, 30)
)


@st.composite
def waveforms(draw):
    """Edge times: bouncing presses of all lengths."""
    now = draw(st.integers(0, 50))
    edges = []
    for _ in range(draw(st.integers(1, 4))):
        for length in (draw(lengths), draw(lengths)):
            edges.append(now)
            for bounce in draw(bounces):
                now += bounce
                edges.append(now)
            if draw(st.booleans()) and len(edges) % 2 == 0:
                now += 1
                edges.append(now)
            now += length
    return edges


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(waveforms(), st.integers(1, 5000))
@example([0, 1499], 1000)
@example([0, 1490, 1495, 1505], 1000)
def test_events_are_those_of_a_button_watched_every_millisecond(events, edges, timeout):
    until = edges[-1] + 12000
    found, _ = events(edges, until, timeout=timeout)
    assert found == model(edges, until)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([], []),
        ([100, 120], []),  # shorter than the debounce time: a spark, not a finger
        ([100, 121], [(141, PRESS)]),
        ([100, 300], [(320, PRESS)]),
        ([100, 105, 108, 300, 303, 309], [(329, PRESS)]),  # bounces at both ends
        ([100, 1600], [(1620, PRESS)]),
        ([100, 1601], [(1600, HOLD)]),
        ([100, 5000], [(1600, HOLD)]),  # the release of a hold is no press
        ([100, 15000], [(1600, HOLD), (10100, STUCK)]),
        ([100, 300, 400, 600], [(320, PRESS), (620, PRESS)]),
    ],
)
def test_classification(events, edges, expected):
    assert events(edges, 20000)[0] == expected


def test_a_stuck_button_tells_once_and_costs_a_wake_each_ten_seconds_at_most(events):
    found, waits = events([10], 3_600_000, timeout=3_600_000)
    assert found == [(1510, HOLD), (10010, STUCK)]
    assert waits < 370


def test_ticks_may_wrap_in_the_middle_of_a_press(events, session):
    start = session.value("ticks_add(0, -200)")
    assert events([100, 300, 1000, 3000], 5000, start=start)[0] == [(320, PRESS), (2500, HOLD)]


def test_a_timeout_is_kept(session, events):
    assert session.value("[button.Button(Board([], 0)).wait(ms) for ms in (0, 1, 250)]") == [0] * 3
