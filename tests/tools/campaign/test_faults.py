"""What faults leave lies between the old content and the new one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick import faults
from tallystick.emulator.parts.nor_flash import FlashOperation, FlashTiming, NorFlash
from tallystick.tools.campaign.engine.flash_state import PIECE, FlashRange, FlashState

TIMING = FlashTiming(256, 640, 4096, 45_000, 1, 1, 1000)


@st.composite
def operations(draw: st.DrawFn) -> FlashOperation:
    kind = draw(st.sampled_from(["program", "erase"]))
    size = draw(st.sampled_from([8, 256])) if kind == "program" else 96
    data = draw(st.binary(min_size=size, max_size=size))
    old, new = (b"\xff" * size, data) if kind == "program" else (data, b"\xff" * size)
    return FlashOperation(0, kind, draw(st.sampled_from([0, 8, 256])), old, new)


@settings(deadline=None, max_examples=40)
@given(operations(), st.integers(0, 1000))
def test_every_bit_is_old_or_new(operation: FlashOperation, seed: int) -> None:
    for variant in faults.variants(operation, random.Random(seed)):
        left = faults.apply(variant, operation)
        assert left == faults.apply(variant, operation), "a variant is a function of its name"
        assert len(left.content) == len(operation.old)
        for old, new, now in zip(operation.old, operation.new, left.content, strict=True):
            assert now & ~(old | new) == 0
            assert old & new & ~now == 0
        for bit in left.weak:
            byte, mask = bit >> 3, 1 << (bit & 7)
            assert (operation.old[byte] ^ operation.new[byte]) & mask, "only what changes is weak"


@settings(deadline=None, max_examples=40)
@given(operations(), st.integers(0, 1000))
def test_clean_cuts_come_first(operation: FlashOperation, seed: int) -> None:
    chosen = list(faults.variants(operation, random.Random(seed), full=False))
    assert chosen[:2] == ["b", "a"]
    assert [faults.phase(variant) for variant in chosen[:2]] == ["before", "after"]
    assert faults.apply("b", operation).content == operation.old
    assert faults.apply("a", operation).content == operation.new


@pytest.mark.parametrize("variant", ["", "z", "3b", "pp3", "nq"])
def test_an_unknown_fault_is_refused(variant: str) -> None:
    with pytest.raises(faults.NoFaultError, match="no fault"):
        faults.apply(variant, FlashOperation(0, "program", 0, b"\xff" * 8, bytes(8)))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 15), st.binary(min_size=PIECE, max_size=PIECE)), max_size=8),
    st.sets(st.integers(0, 16 * PIECE * 8 - 1), max_size=8),
)
def test_a_captured_state_is_the_state_that_was_loaded(
    pieces: list[tuple[int, bytes]], weak: set[int]
) -> None:
    flash = NorFlash(32 * PIECE, TIMING)
    base = bytes(16 * PIECE)
    area = FlashRange(flash, 8 * PIECE, base)
    kept = {number: content for number, content in pieces if content.strip(b"\0")}
    state = FlashState(tuple(sorted(kept.items())), frozenset(weak))
    area.load(state)
    assert area.capture() == state
    assert area.capture().digest == state.digest
    area.load(FlashState())
    assert flash.memory[area.first : area.end] == base
    flash.close()
