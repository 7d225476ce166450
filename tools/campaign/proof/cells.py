"""Cells of flash as small sets: every way in which a slot or a page may read is a bit.

A cell that may read in one way is settled; one that may read in several is wavering: it reads in
one of them at each power-up. Sets are numbers: a state is hashed, compared and covered fast.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)


class Symbols(Generic[R]):
    """What a cell can read as. Each has a number, in the order in which they came."""

    def __init__(self) -> None:
        self._numbers: dict[R, int] = {}
        self._all: list[R] = []
        self._bits: dict[int, tuple[int, ...]] = {}
        self._changed: dict[Hashable, dict[int, int]] = {}

    def number(self, read: R) -> int:
        if read not in self._numbers:
            self._numbers[read] = len(self._all)
            self._all.append(read)
        return self._numbers[read]

    def __getitem__(self, number: int) -> R:
        return self._all[number]

    def cell(self, reads: Iterable[R]) -> int:
        found = 0
        for read in reads:
            found |= 1 << self.number(read)
        return found

    def numbers(self, cell: int) -> tuple[int, ...]:
        """Of all ways in which a cell may read."""
        bits = self._bits.get(cell)
        if bits is None:
            bits = tuple(n for n in range(cell.bit_length()) if cell >> n & 1)
            self._bits[cell] = bits
        return bits

    def reads(self, cell: int) -> list[R]:
        return [self._all[number] for number in self.numbers(cell)]

    def shown(self, cell: int) -> str:
        return " or ".join(sorted(map(str, self.reads(cell))))

    def changed(self, cell: int, name: Hashable, change: Callable[[R], R]) -> int:
        """The cell with each way changed. name: of the change, which is looked up by it."""
        known = self._changed.setdefault(name, {})
        found = known.get(cell)
        if found is None:
            found = known[cell] = self.cell([change(read) for read in self.reads(cell)])
        return found
