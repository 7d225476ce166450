"""NOR rules of the emulated flash, and its faults."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator.parts.flash_memory import FlashPool
from tallystick.emulator.parts.nor_flash import (
    Cut,
    Failure,
    FlashOperation,
    FlashTiming,
    NorFlash,
    Phase,
)
from tallystick.faults.flash import PowerLostError

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


@pytest.mark.parametrize(("address", "size"), [(-1, 1), (SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1)])
def test_what_a_programmer_cannot_load(flash: NorFlash, address: int, size: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        flash.load(address, b"\0" * size)
    assert flash.memory[:] == b"\xff" * SIZE


def test_what_a_programmer_loads(flash: NorFlash) -> None:
    flash.load(0, bytes(SIZE))
    flash.load(SIZE - 1, b"\x55")
    assert flash.memory[:] == bytes(SIZE - 1) + b"\x55"
    assert flash.operations == 0 and not flash.erases


@pytest.mark.parametrize("address", [1, SECTOR - 1, SECTOR + UNIT, SIZE, SIZE - UNIT])
def test_erases_that_the_chip_refuses(flash: NorFlash, address: int) -> None:
    flash.load(0, bytes(SIZE))
    assert not flash.erase(address)
    assert flash.memory[:] == bytes(SIZE) and not flash.erases and flash.operations == 0


def test_an_erase_is_of_one_sector(flash: NorFlash) -> None:
    flash.load(0, bytes(SIZE))
    assert flash.erase(SIZE - SECTOR)
    assert flash.memory[:] == bytes(SIZE - SECTOR) + b"\xff" * SECTOR
    assert flash.erases == {SIZE // SECTOR - 1: 1}


def test_the_last_unit_can_be_programmed(flash: NorFlash) -> None:
    assert flash.program(SIZE - UNIT, b"\x5a" * UNIT)
    assert flash.memory[:] == b"\xff" * (SIZE - UNIT) + b"\x5a" * UNIT


def test_flash_with_ecc_takes_zeros_after_anything() -> None:
    flash = NorFlash(SIZE, timing(once=True))
    assert flash.program(0, b"\x0f" * UNIT)
    assert not flash.program(0, b"\x0f" * UNIT)
    assert not flash.program(0, bytes(UNIT - 1) + b"\1")
    assert flash.memory[:UNIT] == b"\x0f" * UNIT
    assert flash.program(0, bytes(UNIT))
    assert flash.memory[:UNIT] == bytes(UNIT)
    flash.close()


def test_a_failure_that_is_not_told_looks_like_success(flash: NorFlash) -> None:
    for reported in (True, False):
        flash.fault_plan = lambda operation, told=reported: Failure(b"\x33" * UNIT, told)
        assert flash.program(0, bytes(UNIT)) is not reported
        assert flash.memory[:UNIT] == b"\x33" * UNIT


def weak_flash(*bits: int) -> NorFlash:
    flash = NorFlash(SIZE, timing())
    flash.weak = set(bits)
    return flash


def test_weak_bits_are_settled_by_what_covers_them_and_by_nothing_else() -> None:
    first, last, beyond = UNIT * 8, 2 * UNIT * 8 - 1, 2 * UNIT * 8
    flash = weak_flash(first - 1, first, last, beyond)
    flash.program(UNIT, b"\xff" * UNIT)  # ones settle nothing
    assert flash.weak == {first - 1, first, last, beyond}
    flash.program(UNIT, b"\xfe" + b"\xff" * (UNIT - 1))  # bit 0 of the first byte
    assert flash.weak == {first - 1, last, beyond}
    flash.program(UNIT, b"\xff" * (UNIT - 1) + b"\x7f")
    assert flash.weak == {first - 1, beyond}
    flash.close()


def test_an_erase_settles_the_weak_bits_of_its_sector() -> None:
    flash = weak_flash(SECTOR * 8 - 1, SECTOR * 8, 2 * SECTOR * 8 - 1, 2 * SECTOR * 8)
    flash.erase(SECTOR)
    assert flash.weak == {SECTOR * 8 - 1, 2 * SECTOR * 8}
    flash.close()


def test_a_cut_leaves_weak_bits_where_the_operation_was(flash: NorFlash) -> None:
    flash.fault_plan = lambda operation: Cut(Phase.DURING, bytes(UNIT), frozenset((0, 9)))
    with pytest.raises(PowerLostError):
        flash.program(UNIT, bytes(UNIT))
    assert flash.weak == {UNIT * 8, UNIT * 8 + 9}


def test_a_supply_that_gives_way_does_some_of_the_bits(flash: NorFlash) -> None:
    flash.sagging = random.Random(1)
    with pytest.raises(PowerLostError):
        flash.program(0, bytes(UNIT))
    done = sum(byte.bit_count() for byte in flash.memory[:UNIT])
    assert 0 < done < 8 * UNIT
    assert flash.memory[UNIT:] == b"\xff" * (SIZE - UNIT)


# -- what its mutants showed to be unseen ----------------------------------------------------------


def test_what_holds_unless_it_is_said() -> None:
    assert FlashTiming(UNIT, 1, SECTOR, 1, 1, 1, 1).once is False
    flash = NorFlash(SIZE, timing())
    assert flash.can_fail is False and flash.kept == {}
    flash.close()


@pytest.mark.parametrize("bit", [0, 1, UNIT * 8 - 2, UNIT * 8 - 1])
def test_a_weak_bit_anywhere_in_what_is_programmed_is_solid(flash: NorFlash, bit: int) -> None:
    at = 2 * UNIT * 8
    flash.weak = {at - 1, at + bit, at + UNIT * 8}
    flash.program(2 * UNIT, bytes(UNIT))
    assert flash.weak == {at - 1, at + UNIT * 8}
    flash.weak = {at + bit}
    flash.program(2 * UNIT, bytes(UNIT))
    assert flash.weak == set()


def test_an_erase_that_fails_makes_nothing_solid(flash: NorFlash) -> None:
    flash.weak = {3}
    flash.fault_plan = lambda operation: Failure(operation.old)
    assert not flash.erase(0) and flash.weak == {3}


def test_while_the_supply_gives_way_some_bits_are_done(flash: NorFlash) -> None:
    class Half(random.Random):
        def randbytes(self, n: int) -> bytes:
            return b"\x0f\xf0" * (n // 2)

    flash.program(0, b"\xaa" * UNIT)
    flash.sagging = Half()
    with pytest.raises(PowerLostError):
        flash.program(0, b"\x22" * UNIT)
    assert flash.memory[:UNIT] == b"\xa2\x2a" * (UNIT // 2)
    with pytest.raises(PowerLostError):
        flash.erase(0)
    assert flash.memory[:2] == b"\xaf\xfa" and flash.weak == set()


def test_a_plan_comes_before_the_supply(flash: NorFlash) -> None:
    flash.sagging = random.Random(1)
    flash.fault_plan = lambda operation: Failure(operation.old)
    assert not flash.program(0, bytes(UNIT))


def test_one_that_is_put_away_gives_its_memory_to_others() -> None:
    pool = FlashPool(b"\xff" * SIZE)
    one, other = NorFlash(SIZE, timing(), pool=pool), NorFlash(SIZE, timing(), pool=pool)
    one.program(0, bytes(UNIT))
    first = one.shared
    one.put_away()
    assert pool.idle == 1 and one.kept
    one.put_away()  # is nothing more
    assert pool.idle == 1 and one.kept
    assert other.shared is first and pool.idle == 0
    assert other.memory[:UNIT] == b"\xff" * UNIT
    assert one.memory[: 2 * UNIT] == bytes(UNIT) + b"\xff" * UNIT
    assert one.kept == {} and one.shared is not first
    one.close()
    other.close()
    assert pool.idle == 2
    pool.close()


def test_one_of_its_own_memory_is_closed_once() -> None:
    flash = NorFlash(SIZE, timing())
    view = flash.memory
    flash.put_away()  # there is no pool: it stays
    assert flash.memory is view
    flash.close()
    with pytest.raises(ValueError, match="closed"):
        view[0]
    flash.close()


def test_each_weak_bit_is_thrown_for(flash: NorFlash) -> None:
    class Coin(random.Random):
        def getrandbits(self, k: int) -> int:
            assert k == 1
            return 0

    flash.weak = {0, 9}
    flash.power_up(Coin())
    assert flash.memory[:2] == b"\xfe\xfd"


def test_what_is_cut_counts_and_makes_nothing_solid(flash: NorFlash) -> None:
    flash.weak = {3}
    flash.fault_plan = cut(Phase.BEFORE)  # type: ignore[assignment]
    with pytest.raises(PowerLostError):
        flash.program(0, bytes(UNIT))
    with pytest.raises(PowerLostError):
        flash.erase(0)
    assert flash.weak == {3} and flash.erases == {0: 1}
