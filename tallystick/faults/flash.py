"""A NOR flash in memory, for stores that are not firmware: programming only clears bits, erasing
sets a whole sector to ones, and a plan says where the power goes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tallystick.faults import kinds


@dataclass(frozen=True)
class Change:
    """One program or erase (`operation.Operation`)."""

    kind: Literal["program", "erase"]
    address: int
    old: bytes
    new: bytes


class PowerLostError(Exception):
    """Raised inside an operation at which the power goes."""


class FaultyFlash:
    """`size` bytes in sectors of `sector` bytes, programmed in units of `unit`. `plan` is told of
    every change with its number, and may answer with the name of a fault (`kinds`)."""

    def __init__(self, size: int, sector: int, unit: int = 1) -> None:
        self.sector, self.unit = sector, unit
        self.memory = bytearray(b"\xff" * size)
        self.weak: set[int] = set()  # bits, address * 8 + bit
        self.worn: set[int] = set()  # sectors
        self.operations = 0
        self.plan: Callable[[int, Change], str | None] = lambda _number, _change: None
        self._settled: tuple[int, int] | None = None  # what was programmed last: address, size

    def program(self, address: int, data: bytes) -> bool:
        """False: it failed. Raises ValueError for what is not in whole units of this flash,
        PowerLostError when the power goes."""
        if address % self.unit or len(data) % self.unit or address + len(data) > len(self.memory):
            raise ValueError(f"{len(data)} bytes at {address:#x} are not whole units of the flash")
        old = bytes(self.memory[address : address + len(data)])
        new = bytes(a & b for a, b in zip(old, data, strict=True))
        done = self._change(Change("program", address, old, new))
        self._settled = (address, len(data))
        self.weak -= {
            address * 8 + bit for bit in range(len(data) * 8) if not data[bit >> 3] >> (bit & 7) & 1
        }
        return done

    def erase(self, number: int) -> bool:
        """Sector `number`; False and raises as `program`."""
        address = number * self.sector
        if not 0 <= address < len(self.memory):
            raise ValueError(f"there is no sector {number}")
        old = bytes(self.memory[address : address + self.sector])
        done = self._change(Change("erase", address, old, b"\xff" * self.sector))
        if done:
            self.weak -= set(range(address * 8, (address + self.sector) * 8))
        return done

    def power_up(self, rng: random.Random) -> None:
        """Weak bits settle to what they read as until the next power-up."""
        for bit in sorted(self.weak):
            mask = 1 << (bit & 7)
            self.memory[bit >> 3] &= ~mask & 0xFF
            if rng.getrandbits(1):
                self.memory[bit >> 3] |= mask

    def _change(self, change: Change) -> bool:
        fault = self.plan(self.operations, change)
        self.operations += 1
        span = slice(change.address, change.address + len(change.new))
        if fault is None and change.address // self.sector in self.worn:
            self.memory[span] = kinds.apply("f", change).content
            return False
        if fault is None:
            self.memory[span] = change.new
            return True
        left = kinds.apply(fault, change)
        self.memory[span] = left.content
        self.weak |= {change.address * 8 + bit for bit in left.weak}
        if fault == "f":
            self.worn.add(change.address // self.sector)
            return False
        self._rot(kinds.flipped_bits(fault))
        raise PowerLostError

    def _rot(self, bits: tuple[int, ...]) -> None:
        """In what was programmed last before."""
        if self._settled is None:
            return
        address, size = self._settled
        for bit in bits:
            at = bit % (size * 8)
            self.memory[address + (at >> 3)] ^= 1 << (at & 7)
