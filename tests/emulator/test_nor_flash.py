"""NOR rules of the emulated flash, and its faults."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator.parts.nor_flash import (
    Cut,
    Failure,
    FlashOperation,
    FlashTiming,
    NorFlash,
    Phase,
    PowerLostError,
)

UNIT, SECTOR, SIZE = 16, 256, 1024


def timing(*, once: bool = False) -> FlashTiming:
    return FlashTiming(UNIT, 100, SECTOR, 1000, 1000, 1000, 10_000, once)


@pytest.fixture
def flash():  # type: ignore[no-untyped-def]
    made = NorFlash(SIZE, timing())
    yield made
    made.close()


units = st.lists(st.binary(min_size=UNIT, max_size=UNIT), min_size=1, max_size=4)


@given(first=units, second=units, at=st.integers(0, 10))
def test_programming_only_clears_bits(first: list[bytes], second: list[bytes], at: int) -> None:
    flash = NorFlash(SIZE, timing())
    one, two = b"".join(first), b"".join(second)
    assert flash.program(at * UNIT, one) and flash.program(at * UNIT, two)
    span = flash.memory[at * UNIT : at * UNIT + max(len(one), len(two))]
    for i, byte in enumerate(span):
        expected = (one[i] if i < len(one) else 0xFF) & (two[i] if i < len(two) else 0xFF)
        assert byte == expected
    assert flash.erase(0)
    assert flash.memory[:SECTOR] == b"\xff" * SECTOR
    flash.close()


@pytest.mark.parametrize(
    ("address", "size"), [(1, UNIT), (0, UNIT - 1), (0, 0), (SIZE, UNIT), (SIZE - UNIT, 2 * UNIT)]
)
def test_what_the_chip_refuses(flash: NorFlash, address: int, size: int) -> None:
    assert not flash.program(address, b"\0" * size)
    assert flash.memory[:] == b"\xff" * SIZE


def test_flash_with_ecc_is_programmed_once() -> None:
    flash = NorFlash(SIZE, timing(once=True))
    assert flash.program(0, b"\x0f" * UNIT)
    assert not flash.program(0, b"\x00" * (UNIT - 1) + b"\x0f")
    assert flash.memory[:UNIT] == b"\x0f" * UNIT
    assert flash.program(0, b"\x00" * UNIT)  # zeros may always follow (RM0351, PROGERR)
    assert flash.memory[:UNIT] == bytes(UNIT)
    flash.close()


def test_erases_are_counted(flash: NorFlash) -> None:
    for _ in range(3):
        flash.erase(SECTOR)
    assert flash.erases == {1: 3}


def cut(phase: Phase, content: bytes = b"", weak: frozenset[int] = frozenset()) -> object:
    return lambda operation: Cut(phase, content, weak)


@pytest.mark.parametrize(
    ("phase", "left"), [(Phase.BEFORE, 0xFF), (Phase.DURING, 0x3C), (Phase.AFTER, 0x00)]
)
def test_cuts(flash: NorFlash, phase: Phase, left: int) -> None:
    flash.fault_plan = cut(phase, bytes([0x3C]) * UNIT)  # type: ignore[assignment]
    with pytest.raises(PowerLostError):
        flash.program(0, b"\0" * UNIT)
    assert flash.memory[:UNIT] == bytes([left]) * UNIT


def test_operations_are_numbered_and_show_old_and_new(flash: NorFlash) -> None:
    seen: list[FlashOperation] = []
    flash.fault_plan = seen.append  # type: ignore[assignment]
    flash.program(0, b"\xf0" * UNIT)
    flash.program(0, b"\x0f" * UNIT)
    flash.erase(0)
    assert [(op.index, op.kind) for op in seen] == [(0, "program"), (1, "program"), (2, "erase")]
    assert seen[1].old == b"\xf0" * UNIT and seen[1].new == b"\0" * UNIT


def test_a_worn_sector_fails(flash: NorFlash) -> None:
    flash.fault_plan = lambda operation: Failure(operation.old)
    assert not flash.program(0, b"\0" * UNIT)
    assert not flash.erase(0)


def test_weak_bits_change_from_power_up_to_power_up_until_rewritten(flash: NorFlash) -> None:
    flash.fault_plan = cut(Phase.DURING, b"\xff" * UNIT, frozenset({3, 12}))  # type: ignore[assignment]
    with pytest.raises(PowerLostError):
        flash.program(0, b"\0" * UNIT)
    flash.fault_plan = None
    rng = random.Random(1)
    seen = set()
    for _ in range(40):
        flash.power_up(rng)
        seen.add(flash.memory[:2])
    assert seen == {b"\xff\xff", b"\xf7\xff", b"\xff\xef", b"\xf7\xef"}
    flash.program(0, b"\x00" + b"\xff" * (UNIT - 1))  # bit 3 is programmed, bit 12 is not
    flash.power_up(rng)
    assert flash.memory[0] == 0
    assert flash.weak == {12}
    flash.erase(0)
    assert flash.weak == set()
