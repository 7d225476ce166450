"""Keyed records under power cuts: what was committed stays, what was not is whole or not there at
all.

The flash here is the emulator's own NOR, with its torn operations and weak bits; the module runs in
this interpreter, so that thousands of lives fit into seconds. `test_commands_under_cuts` runs the
firmware.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tallystick.emulator.parts.nor_flash import (
    Cut,
    Failure,
    FlashOperation,
    FlashTiming,
    NorFlash,
    Phase,
)
from tallystick.faults.flash import PowerLostError

SECTOR, SECTORS = 4096, 12
TIMING = FlashTiming(
    program_unit=256, program_us=1, sector=SECTOR, erase_us=1, program_ua=0, erase_ua=0,
    endurance=100_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def records(room: Callable[[str], Any]) -> Any:
    return room("lib.records")


class Flash:
    """The firmware's view of the emulated chip."""

    SECTORS, SECTOR, UNIT = SECTORS, SECTOR, 256

    def __init__(self) -> None:
        self.chip = NorFlash(SECTORS * SECTOR, TIMING)

    def read(self, address: int, buf: bytearray) -> None:
        buf[:] = self.chip.memory[address : address + len(buf)]

    def program(self, address: int, buf: bytes) -> None:
        if not self.chip.program(address, bytes(buf)):
            raise OSError(5)

    def erase(self, sector: int) -> None:
        if not self.chip.erase(sector * SECTOR):
            raise OSError(5)


class CutAt:
    """Cuts the power at the operation that is `count` from now."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self._rng = rng
        self._left = count

    def __call__(self, operation: FlashOperation) -> Cut | None:
        self._left -= 1
        if self._left:
            return None
        rng = self._rng
        phase = rng.choice(list(Phase))
        if phase is not Phase.DURING:
            return Cut(phase)
        changing = [
            bit for bit in range(len(operation.new) * 8)
            if (operation.old[bit >> 3] ^ operation.new[bit >> 3]) >> (bit & 7) & 1
        ]  # fmt: skip
        content = bytearray(operation.old)
        share = rng.choice((0.0, 0.01, 0.5, 0.99, 1.0))
        for bit in changing:
            if rng.random() < share:
                content[bit >> 3] ^= 1 << (bit & 7)
        weak = rng.sample(changing, min(len(changing), rng.choice((0, 1, 3, 50))))
        return Cut(phase, bytes(content), frozenset(weak))


def _all(log: Any) -> dict[int, bytes]:
    return {key: log.get(key) for key in log.keys(0, 0xFFFF)}


def _changed(
    model: dict[int, bytes], log: Any, rng: random.Random
) -> tuple[dict[int, bytes], Callable[[], None]]:
    """What the next change makes of the model, and the change itself."""
    key = rng.randrange(30)
    kind = rng.random()
    if kind < 0.02:
        value = rng.randbytes(50)

        def restart() -> None:
            log.restart(key, value)
            log.scrub()

        return {key: value}, restart
    if kind < 0.3:
        return {k: v for k, v in model.items() if k != key}, lambda: log.delete(key)
    value = rng.randbytes(rng.choice((0, 10, 200, 300, 480) if key else (700, 2000)))
    return {**model, key: value}, lambda: log.put(key, value)


def _life(records: Any, seed: int, boots: int = 40) -> None:
    """Many power cuts in one flash's life. Raises AssertionError."""
    rng = random.Random(seed)
    flash = Flash()
    model: dict[int, bytes] = {}
    maybe: dict[int, bytes] | None = None
    for boot in range(boots):
        flash.chip.power_up(rng)
        log = records.Records(flash)
        flash.chip.fault_plan = None
        log.load()
        if rng.random() < 0.1:
            continue  # plugged in, not used
        try:
            flash.chip.fault_plan = CutAt(rng, rng.choice((1, 2, 3, 4, 10_000)))
            log.settle()
            found = _all(log)
            if maybe is not None and found == maybe:
                model = maybe
            assert found == model, f"seed {seed}, boot {boot}"
            maybe = None
            flash.chip.fault_plan = CutAt(rng, rng.randrange(1, 40))
            while True:
                maybe, change = _changed(model, log, rng)
                change()
                model, maybe = maybe, None
                assert _all(log) == model, f"seed {seed}, boot {boot}"
        except PowerLostError:
            pass
    flash.chip.close()


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_cuts_anywhere_again_and_again(records: Any, first: int) -> None:
    for seed in range(first, first + 20):
        _life(records, seed)


def test_every_cut_of_a_long_change(records: Any) -> None:
    """A record of several pages that makes the log move others and erase: each operation, each
    phase.
    """
    for phase in Phase:
        cut = 0
        while True:
            flash = Flash()
            log = records.Records(flash)
            log.load()
            for n in range(60):
                log.put(n % 9, bytes((n,)) * (480 if n % 9 else 900))
            before = _all(log)
            cut += 1
            plan = _Nth(cut, phase)
            flash.chip.fault_plan = plan
            try:
                log.put(0, b"new" * 300)
            except PowerLostError:
                flash.chip.power_up(random.Random(0))
                flash.chip.fault_plan = None
                log = records.Records(flash)
                log.load()
                log.settle()
                found = _all(log)
                assert found in (before, {**before, 0: b"new" * 300}), (phase, cut)
                flash.chip.close()
                continue
            flash.chip.close()
            break
        assert cut > 2


class _Nth:
    def __init__(self, number: int, phase: Phase) -> None:
        self._left, self._phase = number, phase

    def __call__(self, operation: FlashOperation) -> Cut | None:
        self._left -= 1
        if self._left:
            return None
        half = len(operation.new) // 2
        return Cut(self._phase, operation.new[:half] + operation.old[half:])


@pytest.mark.parametrize("seed", range(6))
def test_worn_out_pages_and_sectors(records: Any, seed: int) -> None:
    """The chip reports failures: nothing committed is lost, a refused change changes nothing."""
    rng = random.Random(seed)
    flash = Flash()
    log = records.Records(flash)
    log.load()
    model: dict[int, bytes] = {}

    def fails(operation: FlashOperation) -> Failure | None:
        if rng.random() < 0.03:
            half = len(operation.new) // 2
            return Failure(operation.new[:half] + operation.old[half:])
        return None

    flash.chip.fault_plan = fails
    refused = 0
    for _ in range(200):
        after, change = _changed(model, log, rng)
        if after.keys() < model.keys() and len(after) <= 1 < len(model):
            continue
        try:
            change()
            model = after
        except OSError:
            refused += 1
        assert _all(log) in (model, after)
        model = _all(log)
    flash.chip.fault_plan = None
    again = records.Records(flash)
    again.load()
    again.settle()
    assert _all(again) == model
    flash.chip.close()


def test_one_flipped_bit_anywhere_is_mended(records: Any) -> None:
    flash = Flash()
    log = records.Records(flash)
    log.load()
    log.put(7, b"seven" * 30)
    size = 14 + 150 + 8
    for bit in range(size * 8):
        flash.chip.memory[bit >> 3] = flash.chip.memory[bit >> 3] ^ 1 << (bit & 7)
        again = records.Records(flash)
        again.load()
        assert _all(again) == {7: b"seven" * 30}, bit
        flash.chip.memory[bit >> 3] = flash.chip.memory[bit >> 3] ^ 1 << (bit & 7)
    flash.chip.close()


@pytest.mark.parametrize("address", [2 * 256, 5 * SECTOR])
def test_flash_that_cannot_be_read_is_not_taken_for_new(records: Any, address: int) -> None:
    flash = Flash()
    flash.chip.load(address, b"\0" * 256)
    with pytest.raises(records.DamagedError):
        records.Records(flash).load()
    flash.chip.close()


def test_a_first_record_is_told_from_all_others(records: Any) -> None:
    """Who asks may begin anew: so not once anything else has been written."""
    flash = Flash()
    log = records.Records(flash)
    log.load()
    log.put(1, b"first")

    def at_first() -> bool:
        again = records.Records(flash)
        assert again.load()
        return bool(again.at_first())

    assert at_first()
    flash.chip.load(256, b"\x7f")  # a second one that was torn
    assert at_first()
    flash.chip.load(2 * 256, b"\x7f")
    assert not at_first()
    flash.chip.load(0, b"\xff" * 3 * 256)
    log = records.Records(flash)
    log.load()
    log.put(1, b"first")
    log.put(2, b"second")
    assert not at_first()
    flash.chip.close()


def test_after_a_restart_and_scrub_nothing_old_is_in_the_flash(records: Any) -> None:
    flash = Flash()
    log = records.Records(flash)
    log.load()
    for n in range(50):
        log.put(n % 20, b"secret-%02d" % n * 20)
    log.restart(0, b"clean")
    log.scrub()
    assert b"secret" not in flash.chip.memory[:]
    assert _all(log) == {0: b"clean"}
    flash.chip.close()


@pytest.mark.parametrize("size", [100, 480, 2000], ids=["one page", "two pages", "a sector"])
@pytest.mark.parametrize("before", range(17))
def test_what_reads_as_blank_or_spoiled_does_not_come_back(
    records: Any, size: int, before: int
) -> None:
    """A record was cut when all of its bits were weak: they read as ones now and as zeros later.
    Wherever it lies, also at the beginning of the next sector while there is room in this one."""
    flash = Flash()
    log = records.Records(flash)
    log.load()
    for number in range(before + 1):
        log.put(1, b"old-%02d" % number)
    torn: list[FlashOperation] = []

    def plan(operation: FlashOperation) -> Cut | None:
        if operation.kind != "program" or torn:
            return None
        torn.append(operation)
        changing = [
            bit for bit in range(len(operation.new) * 8)
            if (operation.old[bit >> 3] ^ operation.new[bit >> 3]) >> (bit & 7) & 1
        ]  # fmt: skip
        return Cut(Phase.DURING, operation.old, frozenset(changing))

    flash.chip.fault_plan = plan
    with pytest.raises(PowerLostError):
        log.put(1, b"n" * size)
    flash.chip.fault_plan = None
    log = records.Records(flash)  # the weak bits read as ones
    log.load()
    log.settle()
    assert log.get(1) == b"old-%02d" % before
    for bit in flash.chip.weak:  # and now as the record had them
        flash.chip.memory[bit >> 3] &= ~(1 << (bit & 7))
    log = records.Records(flash)
    log.load()
    log.settle()
    assert log.get(1) == b"old-%02d" % before
    flash.chip.close()
