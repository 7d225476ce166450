"""The journal of the firmware, on real MicroPython, against a model: the states that were appended,
of which a cut may have undone or kept the last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from tests.firmware.remote import Device, running

DEVICE = Path(__file__).parent / "device"
PAYLOAD = 40
STATES = st.binary(min_size=PAYLOAD, max_size=PAYLOAD)
MASKS = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.sampled_from([b"\x00", b"\xff", b"\xff" * 8 + b"\x00" * 248, b"\xff" * 60 + b"\x00" * 196]),
)
GEOMETRIES = [(16, 4096, 256), (24, 2048, 8), (3, 1024, 8), (2, 1024, 8)]


@pytest.fixture(scope="module")
def device(micropython: Any) -> Iterator[Device]:
    with running(micropython, DEVICE / "main.py", heap="512k") as device:
        yield device


def machine_of(device: Device, geometry: tuple[int, int, int]) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        """`possible`: what the journal may hold; one state unless an append was cut."""

        @initialize()
        def fresh(self) -> None:
            device.new(*geometry)
            self.possible: list[str | None] = [None]
            self.start()

        def start(self) -> None:
            loaded = device.start(PAYLOAD)
            assert loaded != "damaged"
            assert loaded[0] in self.possible
            assert loaded[1] <= self.cuts
            self.possible = [loaded[0]]
            # As after a cold start: what was read is made solid, in two slots.
            if loaded[0] is not None:
                for _ in range(2):
                    assert device.append(loaded[0], -1, "") == "done"
            self.cuts = 0

        cuts = all_cuts = 0

        @rule(state=STATES)
        def append(self, state: bytes) -> None:
            assert device.append(state.hex(), -1, "") == "done"
            self.possible = [state.hex()]

        @rule(state=STATES, operation=st.integers(0, 30), mask=MASKS)
        def cut(self, state: bytes, operation: int, mask: bytes) -> None:
            result = device.append(state.hex(), operation, mask.hex())
            if result == "done":
                self.possible = [state.hex()]
                return
            self.possible.append(state.hex())
            self.cuts += 1
            self.all_cuts += 1
            self.start()

        @rule()
        def power_cycle(self) -> None:
            self.start()

        @rule(bit=st.integers(0, (12 + PAYLOAD + 8) * 8 - 1))
        def rot(self, bit: int) -> None:
            if self.possible != [None]:
                device.flip(bit)
                self.cuts += 1  # more than one flipped bit would make a record unreadable
                self.start()

        @invariant()
        def wear_is_spread(self) -> None:
            erases = device.erases()
            assert max(erases) - min(erases) <= 1 + self.all_cuts + erases.count(0)

    return Machine


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_a_cut_leaves_the_old_or_the_new_state(
    device: Device, geometry: tuple[int, int, int]
) -> None:
    run_machine(
        machine_of(device, geometry),
        settings=settings(max_examples=30, stateful_step_count=30, deadline=None,
                          derandomize=True, suppress_health_check=list(HealthCheck)),
    )  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(states=st.lists(STATES, min_size=1, max_size=40))
def test_the_last_state_is_loaded(device: Device, states: list[bytes]) -> None:
    device.new(3, 1024, 8)
    device.start(PAYLOAD)
    for state in states:
        assert device.append(state.hex(), -1, "") == "done"
    assert device.start(PAYLOAD) == [states[-1].hex(), 0]


@pytest.mark.parametrize("bad", [[1], [1, 2], [2, 0]])
def test_worn_sectors_are_left_out(device: Device, bad: list[int]) -> None:
    """Two in a row, too."""
    device.new(5, 4096, 256)
    device.start(PAYLOAD)
    for n in range(20):
        assert device.append(bytes([n] * PAYLOAD).hex(), -1, "") == "done"
    device.wear(bad)
    for n in range(20, 200):
        assert device.append(bytes([n] * PAYLOAD).hex(), -1, "") == "done"
        assert device.start(PAYLOAD)[0] == bytes([n] * PAYLOAD).hex()


def test_a_journal_without_a_whole_record_is_not_a_new_one(device: Device) -> None:
    device.new(3, 1024, 8)
    device.start(PAYLOAD)
    for n in range(8):
        device.append(bytes([n] * PAYLOAD).hex(), -1, "")
    device.spoil()
    assert device.start(PAYLOAD) == "damaged"
