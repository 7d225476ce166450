"""NOR flash in shared memory: programming only clears bits, erasing sets a whole sector to ones.

Reads never come here: the firmware process sees the same memory. Every program and erase does, is
numbered, costs time from the data sheet, and can be cut by a fault plan.
"""

from __future__ import annotations

import mmap
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from tallystick.emulator.parts.flash_memory import FlashMemory, FlashPool, Pages
from tallystick.faults.flash import PowerLostError


@dataclass(frozen=True)
class FlashTiming:
    """Typical figures of a data sheet. Times in µs, currents in µA, endurance in erase cycles."""

    program_unit: int  # bytes programmed in one go; addresses and lengths are multiples of it
    program_us: int  # for one unit
    sector: int  # bytes erased in one go
    erase_us: int
    program_ua: int
    erase_ua: int
    endurance: int
    once: bool = False  # a unit that is not blank cannot be programmed again (flash with ECC)


class Phase(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(slots=True)
class FlashOperation:
    """One program or erase, as the fault plan sees it. `index` counts from 0 since the chip was
    made.
    """

    index: int
    kind: Literal["program", "erase"]
    address: int
    old: bytes
    new: bytes  # what the range holds once the operation is complete


@dataclass(frozen=True)
class Cut:
    """Power goes at this operation. `content` is what a torn operation leaves (phase during);
    `weak` are bits, numbered from the operation's address (byte * 8 + bit), that read differently
    from one power-up to the next until their sector is erased or they are programmed to 0."""

    phase: Phase
    content: bytes = b""
    weak: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Failure:
    """The operation fails, as in a worn-out sector. `content` is what it leaves. Chips that cannot
    tell report success all the same."""

    content: bytes
    reported: bool = True


FaultPlan = Callable[[FlashOperation], Cut | Failure | None]


@dataclass
class NorFlash:
    """`size` bytes at address 0. `memory` is shared with firmware processes through `fd`. With a
    `pool` it begins with the pool's content, and can be put away. kept_in: descriptor of a file
    that is the memory, so that it holds what is programmed at the instant when it is."""

    size: int
    timing: FlashTiming
    fault_plan: FaultPlan | None = None
    can_fail: bool = False  # the fault plan may answer with a Failure
    operations: int = 0
    erases: dict[int, int] = field(default_factory=dict)  # sector number → erase count
    weak: set[int] = field(default_factory=set)  # bit numbers, address * 8 + bit
    sagging: random.Random | None = None  # the supply gives way: half of the bits are done
    pool: FlashPool | None = None
    kept_in: int | None = None

    def __post_init__(self) -> None:
        self.kept: Pages = {}  # while it is put away
        self._shared = None if self.pool else FlashMemory(self.size, kept=self.kept_in)

    def _memory(self) -> FlashMemory:
        if self._shared is None:
            assert self.pool is not None
            self._shared = self.pool.take(self.kept)
            self.kept = {}
        return self._shared

    @property
    def memory(self) -> mmap.mmap:
        return self._memory().view

    @property
    def shared(self) -> FlashMemory:
        return self._memory()

    def put_away(self) -> None:
        """No firmware runs and nobody looks: gives the memory back to the pool, where there is
        one. It is there again when somebody does."""
        if self.pool is not None and self._shared is not None:
            self.kept = self.pool.give(self._shared)
            self._shared = None

    def close(self) -> None:
        self.put_away()
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def load(self, address: int, data: bytes) -> None:
        """Writes as a factory programmer does: any content, no wear, no time."""
        if address < 0 or address + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {address:#x} do not fit {self.size:#x} bytes")
        self.memory[address : address + len(data)] = data

    def power_up(self, rng: random.Random) -> None:
        """Weak bits settle to what they read as until the next power-up."""
        for bit in sorted(self.weak):
            byte, mask = bit >> 3, 1 << (bit & 7)
            if rng.getrandbits(1):
                self.memory[byte] |= mask
            else:
                self.memory[byte] &= ~mask

    def program(self, address: int, data: bytes) -> bool:
        """True when the chip reports success. Raises PowerLostError when a fault plan cuts here."""
        unit = self.timing.program_unit
        end = address + len(data)
        if address % unit or len(data) % unit or not data or end > self.size:
            return False
        old = self.memory[address:end]
        blank = old.count(0xFF) == len(old)
        if self.timing.once and not blank and any(data):
            return False  # zeros may always follow (RM0351, PROGERR)
        new = data if blank else bytes(a & b for a, b in zip(old, data, strict=True))
        ok = self._apply("program", address, old, new)
        if self.weak and min(self.weak) < end * 8 and max(self.weak) >= address * 8:
            self.weak -= {
                bit
                for bit in self.weak
                if address <= bit >> 3 < end and not data[(bit >> 3) - address] >> (bit & 7) & 1
            }
        return ok

    def erase(self, address: int) -> bool:
        """Erases the sector at `address`. True when the chip reports success."""
        sector = self.timing.sector
        if address % sector or address + sector > self.size:
            return False
        old = self.memory[address : address + sector]
        number = address // sector
        self.erases[number] = self.erases.get(number, 0) + 1
        ok = self._apply("erase", address, old, b"\xff" * sector)
        if ok and self.weak:
            self.weak -= {
                bit for bit in self.weak if bit >> 3 >= address and bit >> 3 < address + sector
            }
        return ok

    def _apply(
        self, kind: Literal["program", "erase"], address: int, old: bytes, new: bytes
    ) -> bool:
        operation = FlashOperation(self.operations, kind, address, old, new)
        self.operations += 1
        fault = self.fault_plan(operation) if self.fault_plan else None
        if fault is None and self.sagging is not None:
            masks = self.sagging.randbytes(len(old))
            bits = zip(old, new, masks, strict=True)
            fault = Cut(Phase.DURING, bytes(a ^ ((a ^ b) & mask) for a, b, mask in bits))
        span = slice(address, address + len(new))
        if fault is None:
            self.memory[span] = new
            return True
        if isinstance(fault, Failure):
            self.memory[span] = fault.content
            return not fault.reported
        if fault.phase is Phase.DURING:
            self.memory[span] = fault.content
            self.weak |= {address * 8 + bit for bit in fault.weak}
        elif fault.phase is Phase.AFTER:
            self.memory[span] = new
        raise PowerLostError
