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
FACTORY = bytes(PAYLOAD).hex()
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
            self.possible = [FACTORY]
            self.start()

        def start(self, operation: int = -1, mask: bytes = b"") -> None:
            """A cold start, cut or not."""
            loaded = device.start(PAYLOAD)
            assert loaded != "damaged"
            state = FACTORY if loaded[0] is None else loaded[0]
            assert state in self.possible
            assert loaded[1] <= self.cuts
            self.possible = [state]
            if device.settle(state, operation, mask.hex()) == "done":
                self.cuts = 0
                return
            self.cuts += 1
            self.all_cuts += 1
            self.start()

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

        @rule(operation=st.integers(-1, 60), mask=MASKS)
        def power_cycle(self, operation: int, mask: bytes) -> None:
            self.start(operation, mask)

        @rule(bit=st.integers(0, (12 + PAYLOAD + 8) * 8 - 1))
        def rot(self, bit: int) -> None:
            if self.possible != [FACTORY]:
                device.flip(bit)
                self.cuts += 1  # more than one flipped bit would make a record unreadable
                self.start()

        @invariant()
        def wear_is_spread(self) -> None:
            if geometry[0] < 5:
                return  # no room to move round the ring
            erases = device.erases()
            assert max(erases) - min(erases) <= 4 + 3 * self.all_cuts + erases.count(0)

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


def test_a_state_of_a_later_format_moves_beside_records_of_the_one_before(device: Device) -> None:
    """Their size is not taken for its own."""
    device.new(16, 4096, 256)
    device.start(20)
    for n in range(16):
        assert device.append(bytes([n] * 20).hex(), -1, "") == "done"
    device.start(PAYLOAD, [20])
    device.write_as(PAYLOAD)
    state = bytes(range(PAYLOAD)).hex()
    assert device.append(state, -1, "") == "done"
    assert device.start(PAYLOAD, [20]) == [state, 0]
    assert device.settle(state, -1, "") == "done"
    assert device.start(PAYLOAD, [20]) == [state, 0]


@pytest.mark.parametrize("last", [1024, 1025, 2048])
def test_a_record_of_an_older_firmware_may_begin_a_thousand(device: Device, last: int) -> None:
    """It knew no copies: its record may be alone in its sector, and holds."""
    device.new(16, 4096, 256)
    device.start(PAYLOAD)
    device.number_from(last - 20)
    for n in range(20):
        if n == 19:
            device.fill_sector()
        assert device.append_as_before(bytes([n] * PAYLOAD).hex())
    state = bytes([19] * PAYLOAD).hex()
    assert device.start(PAYLOAD)[0] == state
    assert device.settle(state, -1, "") == "done"
    assert device.start(PAYLOAD) == [state, 0]
