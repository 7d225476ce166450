"""Bring-up in this interpreter: who may ask for what, what is drawn, and what flash has to do."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

SELF_TEST = 0xEE
DARK, PATTERN, BUTTON, FLASH, HEAP = range(5)
SECURITY, CONDITIONS, P1P2, BAD = 0x6982, 0x6985, 0x6A86, 0x6581
Ask = Callable[..., bytes | int]


class Flash:
    """Three sectors of 512 bytes. spoil: what happens to a program or an erase, by its number."""

    SECTORS, SECTOR = 3, 512

    def __init__(self) -> None:
        self.memory = bytearray(range(256)) * 6
        self.done: list[tuple[Any, ...]] = []
        self.bad: tuple[int, int] | None = None  # (after how many operations, at which offset)

    def _spoil(self) -> None:
        if self.bad and len(self.done) == self.bad[0]:
            self.memory[1024 + self.bad[1]] ^= 0x10

    def erase(self, sector: int) -> None:
        self.done.append(("erase", sector))
        self.memory[sector * 512 : sector * 512 + 512] = b"\xff" * 512
        self._spoil()

    def program(self, at: int, data: bytes) -> None:
        self.done.append(("program", at, bytes(data)))
        for n, byte in enumerate(data):
            self.memory[at + n] &= byte
        self._spoil()

    def read(self, at: int, into: bytearray) -> None:
        into[:] = self.memory[at : at + len(into)]


class Picture:
    """A frame buffer: what is drawn, in order."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height, self.ink, self.fb = width, height, 1, self
        self.done: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given: self.done.append((name, *given))


@pytest.fixture
def bench(load: Any, ask: Ask, held: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A blank card from the assembler, which runs slot 0."""
    board = load("board")
    found = SimpleNamespace(flash=Flash(), picture=Picture(32, 16), slots=[])

    def slot(n: int) -> Flash:
        found.slots.append(n)
        return found.flash

    monkeypatch.setattr(board, "slot", slot, raising=False)
    monkeypatch.setattr(board, "display", lambda: found.picture, raising=False)
    monkeypatch.setattr(board, "HEAP", 0x01020304, raising=False)
    monkeypatch.setattr(load("booted"), "slot", 0, raising=False)
    monkeypatch.setattr(gc, "mem_alloc", lambda: 0x01000000, raising=False)
    monkeypatch.setattr(gc, "mem_free", lambda: 0x00020003, raising=False)
    held.secure, held.store.life_cycle = False, 0x01
    found.ask = lambda *given: ask("card.selftest", SELF_TEST, *given)
    return found


@pytest.mark.parametrize("part", [DARK, PATTERN, BUTTON, FLASH, HEAP, 9])
def test_a_card_in_service_is_tested_by_its_firm_alone(bench: Any, held: Any, part: int) -> None:
    held.store.life_cycle = 0x0F
    for p2 in (0, 1):
        assert bench.ask(part, p2) == SECURITY
    assert (held.done, bench.picture.done, bench.flash.done) == ([], [], [])
    held.secure = True
    assert bench.ask(HEAP) == b"\1\2\0\3\1\2\3\4"


@pytest.mark.parametrize(
    "given",
    [(5,), (9,), (HEAP, 1), (PATTERN, 1), (PATTERN, 0, b"x"), (BUTTON, 1, b""), (DARK, 0, b"x")],
)
def test_there_is_no_other_part(bench: Any, held: Any, given: Any) -> None:
    assert bench.ask(*given) == P1P2
    assert (held.done, bench.picture.done) == ([], [])


@pytest.mark.parametrize("life_cycle", [0x01, 0x07])
def test_what_a_card_that_is_not_in_service_tells_anybody(
    bench: Any, held: Any, life_cycle: int
) -> None:
    held.store.life_cycle = life_cycle
    assert bench.ask(HEAP) == b"\1\2\0\3\1\2\3\4"
    assert bench.ask(DARK) == b""
    assert bench.picture.done == [("clear",), ("off",)]
    assert bench.ask(BUTTON) == b""
    held.terminal.presses = False
    assert bench.ask(BUTTON) == CONDITIONS
    assert held.done == [("press", "for the test")] * 2


def test_the_pattern_has_a_frame_a_board_and_both_diagonals(bench: Any) -> None:
    assert bench.ask(PATTERN) == b""
    squares = [(0, 0), (16, 0), (8, 8), (24, 8)]
    assert bench.picture.done == [
        ("empty",),
        *(("fill_rect", x, y, 8, 8, 1) for x, y in squares),
        ("rect", 0, 0, 32, 16, 1),
        ("line", 0, 0, 31, 15, 1),
        ("line", 0, 15, 31, 0, 1),
        ("show",),
    ]


@pytest.mark.parametrize("running", [0, 1])
def test_flash_is_tested_where_nothing_runs(
    bench: Any, load: Any, monkeypatch: pytest.MonkeyPatch, running: int
) -> None:
    monkeypatch.setattr(load("booted"), "slot", running)
    assert bench.ask(FLASH) == b""
    assert bench.slots == [1 - running]
    erase = ("erase", 2)
    assert bench.flash.done == [
        erase,
        *(("program", at, b"\x55" * 256) for at in (1024, 1280)),
        erase,
        *(("program", at, b"\xaa" * 256) for at in (1024, 1280)),
        erase,
    ]


@pytest.mark.parametrize("at", [0, 255, 256, 511])
@pytest.mark.parametrize("after", [1, 3, 4, 6, 7])
def test_a_bit_that_fails_is_told(bench: Any, after: int, at: int) -> None:
    bench.flash.bad = after, at
    assert bench.ask(FLASH) == BAD
    assert len(bench.flash.done) == after


@pytest.mark.parametrize("life_cycle", [0x07, 0x0F])
def test_the_flash_of_a_card_that_holds_something_is_left_alone(
    bench: Any, held: Any, life_cycle: int
) -> None:
    held.secure, held.store.life_cycle = True, life_cycle
    assert bench.ask(FLASH) == CONDITIONS
    assert bench.flash.done == []
