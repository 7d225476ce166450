"""The content of a range of flash as what differs from a base, so that thousands of states take
little room and can be told apart by a hash."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from tallystick.emulator.parts.nor_flash import NorFlash

PIECE = 256  # bytes; a state is kept as the pieces that differ


@dataclass(frozen=True)
class FlashState:
    """`pieces`: (number of the piece in the range, content), in order. `weak`: bits that read
    differently from power-up to power-up, numbered from the start of the range. `worn`: addresses
    in the range of sectors that take no program and no erase."""

    pieces: tuple[tuple[int, bytes], ...] = ()
    weak: frozenset[int] = frozenset()
    worn: frozenset[int] = frozenset()

    @cached_property
    def digest(self) -> bytes:
        """16 bytes."""
        hashed = hashlib.blake2b(digest_size=16)
        for number, content in self.pieces:
            hashed.update(number.to_bytes(4, "little") + content)
        for numbers in (self.weak, self.worn):
            hashed.update(struct.pack(f"<{len(numbers) + 1}I", len(numbers), *sorted(numbers)))
        return hashed.digest()


class FlashRange:
    """A range of an emulated flash, loaded from states and captured as states.

    `base`: the content that states are told by. `first`: address of the range.
    """

    def __init__(self, flash: NorFlash, first: int, base: bytes) -> None:
        self.flash = flash
        self.first = first
        self.base = base
        self.end = first + len(base)
        self._touched: set[int] = set()

    def covers(self, address: int) -> bool:
        return self.first <= address < self.end

    def load(self, state: FlashState) -> None:
        """Flash becomes `state`; bits read as its content says until the next power-up."""
        self.flash.memory[self.first : self.end] = self.base
        self._touched = {number for number, _ in state.pieces}
        for number, content in state.pieces:
            at = self.first + number * PIECE
            self.flash.memory[at : at + PIECE] = content
        self.flash.weak = {self.first * 8 + bit for bit in state.weak}

    def touch(self, address: int, size: int) -> None:
        """Has to be called before flash changes there."""
        begin = (address - self.first) // PIECE
        self._touched.update(range(begin, (address - self.first + size - 1) // PIECE + 1))

    def _piece(self, number: int) -> bytes:
        at = self.first + number * PIECE
        return self.flash.memory[at : at + PIECE]

    def capture(
        self, worn: frozenset[int] = frozenset(), reread: Callable[[], int] | None = None
    ) -> FlashState:
        """What flash holds now. Weak bits read as `reread` says, where it is given."""
        return self._state(self._pieces(reread), (), worn)

    def with_change(
        self,
        address: int,
        content: bytes,
        weak: Iterable[int],
        worn: frozenset[int] = frozenset(),
        reread: Callable[[], int] = lambda: 0,
    ) -> FlashState:
        """What flash would hold with `content` at `address`, and further weak bits there (numbered
        from `address`). Bits that were weak before read as `reread` says."""
        pieces = self._pieces(reread)
        offset = address - self.first
        end = offset + len(content)
        for number in range(offset // PIECE, (end - 1) // PIECE + 1):
            piece = bytearray(pieces[number] if number in pieces else self._piece(number))
            begin = max(offset, number * PIECE)
            stop = min(end, (number + 1) * PIECE)
            piece[begin - number * PIECE : stop - number * PIECE] = content[
                begin - offset : stop - offset
            ]
            pieces[number] = bytes(piece)
        return self._state(pieces, (offset * 8 + bit for bit in weak), worn)

    def _pieces(self, reread: Callable[[], int] | None) -> dict[int, bytes]:
        """By number: all that may differ from the base."""
        pieces = {number: self._piece(number) for number in self._touched}
        if reread is None:
            return pieces
        for bit in sorted(self.flash.weak):
            number, offset = divmod((bit >> 3) - self.first, PIECE)
            piece = bytearray(pieces.get(number) or self._piece(number))
            mask = 1 << (bit & 7)
            piece[offset] = piece[offset] | mask if reread() else piece[offset] & ~mask
            pieces[number] = bytes(piece)
        return pieces

    def _state(
        self, pieces: dict[int, bytes], weak: Iterable[int], worn: frozenset[int]
    ) -> FlashState:
        differing = tuple(
            (number, content)
            for number, content in sorted(pieces.items())
            if content != self.base[number * PIECE : (number + 1) * PIECE]
        )
        kept = {bit - self.first * 8 for bit in self.flash.weak if self.covers(bit >> 3)}
        return FlashState(differing, frozenset(kept.union(weak)), worn)
