"""The cell's state: thresholds, hysteresis, and readings that disagree."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NORMAL, LOW, CRITICAL = range(3)

quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(
    ("mv", "previous", "expected"),
    [
        (3000, NORMAL, NORMAL),
        (2550, NORMAL, NORMAL),
        (2549, NORMAL, LOW),
        (2649, LOW, LOW),
        (2650, LOW, NORMAL),
        (2300, LOW, LOW),
        (2299, LOW, CRITICAL),
        (2299, NORMAL, CRITICAL),
        (2449, CRITICAL, CRITICAL),
        (2450, CRITICAL, LOW),
        (2649, CRITICAL, LOW),
        (2650, CRITICAL, NORMAL),  # a fresh cell was put in
        (2600, 0xFF, NORMAL),  # never measured: no hysteresis
        (2400, 0xFF, LOW),
        (0, NORMAL, CRITICAL),
    ],
)
def test_thresholds(session, mv, previous, expected):
    assert session.value(f"cell.judge({mv}, {previous})") == expected


def walk(session, readings: list[int], state: int) -> list[int]:
    session.run(
        f"state = {state}\nstates = []\nfor mv in {readings}:\n"
        "    state = cell.judge(mv, state)\n    states.append(state)"
    )
    return session.value("states")


@quick
@given(st.integers(1800, 3300), st.integers(0, 2), st.lists(st.integers(-49, 49), min_size=2))
def test_noise_of_100_mv_does_not_make_the_state_flicker(session, mv, state, noise):
    states = walk(session, [mv + n for n in noise], state)
    changes = sum(a != b for a, b in zip([state, *states], states, strict=False))
    assert changes <= 2
    assert len(set(states)) <= 2


@quick
@given(st.lists(st.integers(1800, 3300), min_size=1, max_size=30), st.integers(0, 2))
def test_a_lower_voltage_never_means_a_better_state(session, readings, state):
    for better, worse in zip(
        walk(session, readings, state),
        walk(session, [mv - 60 for mv in readings], state),
        strict=True,
    ):
        assert worse >= better


@quick
@given(
    st.integers(2000, 3200),
    st.lists(st.integers(0, 3600), min_size=2, max_size=2),
    st.permutations(range(5)),
)
def test_two_wild_readings_of_five_change_nothing(session, mv, wild, order):
    readings = [mv, mv, mv, *wild]
    shuffled = [readings[i] for i in order]
    session.run(
        f"readings = {shuffled}\n"
        "class Board:\n"
        "    def cell_mv(self):\n"
        "        return readings.pop()\n"
    )
    found = session.value("cell.measure(Board(), 0)")
    assert found[0] == mv
    assert session.value("len(readings)") == 0
