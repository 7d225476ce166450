"""Flash controller (RM0351, chapter 3): keys, double words, pages, and what it refuses.

Not here: fast programming, mass erase, option bytes (they read as from the factory), ECC errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tallystick.emulator.parts.nor_flash import Cut, Failure, FaultPlan, FlashOperation, Phase
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers

BASE, MEMORY, SIZE, PAGE = 0x40022000, 0x08000000, 0x100000, 0x800
_BANK = SIZE // 2
_ACR, _KEYR, _OPTKEYR, _SR, _CR, _ECCR, _OPTR = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x20
_RESET = {
    _ACR: 0x600, 0x04: 0, _KEYR: 0, _OPTKEYR: 0, _SR: 0, _CR: 0xC0000000, _ECCR: 0,
    _OPTR: 0xFFEFF8AA, 0x24: 0xFFFFFFFF, 0x28: 0xFFFF0000, 0x2C: 0xFF00FFFF, 0x30: 0xFF00FFFF,
    0x44: 0xFFFFFFFF, 0x48: 0xFFFF0000, 0x4C: 0xFF00FFFF, 0x50: 0xFF00FFFF,
}  # fmt: skip
_KEYS = (0x45670123, 0xCDEF89AB)
_PG, _PER, _BKER, _MASS, _STRT = 1, 1 << 1, 1 << 11, 1 << 2 | 1 << 15, 1 << 16
_FAST, _EOPIE, _ERRIE, _LOCK = 1 << 18, 1 << 24, 1 << 25, 1 << 31
_EOP, _OPERR, _PROGERR, _PGAERR, _SIZERR, _PGSERR = 1, 1 << 1, 1 << 3, 1 << 5, 1 << 6, 1 << 7
_BSY = 1 << 16
_ERRORS = 0xC3F8  # those that make the next operation a sequence error
_CLEARED = 0xC3FB


Kind = Literal["program", "erase"]


class PowerIsCutError(Exception):
    """Power goes in the middle of an operation."""


class Flash(Registers):
    """`on_operation(kind, address, size, duration_us)` is told when one begins; addresses are
    offsets in flash."""

    def __init__(
        self,
        core: Cortex,
        program_us: float,
        erase_us: float,
        on_operation: Callable[[str, int, int, float], None],
    ) -> None:
        super().__init__(core, BASE, _RESET)
        self._program_us, self._erase_us = program_us, erase_us
        self._on_operation = on_operation
        self.on_latency: Callable[[], None] = lambda: None
        self.fault_plan: FaultPlan | None = None
        self.operations = 0
        core.memory(MEMORY, SIZE, writable=False)
        core.load(MEMORY, b"\xff" * SIZE)
        core.on_write_protected(MEMORY, SIZE, self.store)
        self.on_reset()

    def on_reset(self) -> None:
        self._keys = 0
        self._half: tuple[int, int] | None = None  # address, word: the first of a double word
        self._busy_until_ns = 0.0

    def get(self, at: int) -> int:
        if at == _SR:
            return self.values[at] | (_BSY if self.core.now_ns < self._busy_until_ns else 0)
        return 0 if at in (_KEYR, _OPTKEYR) else self.values[at]

    def put(self, at: int, value: int) -> None:
        if at == _KEYR:
            self._key(value)
        elif at == _SR:
            self.values[at] &= ~(value & _CLEARED)
        elif at == _CR:
            self._control(value)
        elif at == _ACR:
            self.values[at] = value
            self.on_latency()
        else:
            raise self.core.error(f"wrote {BASE + at:#010x}, which a card has no business with")

    @property
    def wait_states(self) -> int:
        return self.values[_ACR] & 7

    def _key(self, value: int) -> None:
        """A wrong sequence locks it until the next reset."""
        good = self._keys < 2 and value == _KEYS[self._keys]
        self._keys = self._keys + 1 if good else 3
        if self._keys == 2:
            self.values[_CR] &= ~_LOCK

    def _control(self, value: int) -> None:
        if self.values[_CR] & _LOCK:
            return
        self._wait()
        if value & (_FAST | _MASS | 1 << 17 | 1 << 27):
            raise self.core.error(f"asked the flash for what is not emulated ({value:#x})")
        self.values[_CR] = value & ~_STRT
        if value & _LOCK:
            self._keys = 0
        elif value & _STRT:
            self._erase(value)

    def _wait(self) -> None:
        """The bus waits while the flash is busy."""
        self.core.stall(max(0.0, self._busy_until_ns - self.core.now_ns))

    def _erase(self, control: int) -> None:
        if not control & _PER or control & _PG or self.values[_SR] & _ERRORS:
            self._fail(_PGSERR)
            return
        page = control >> 3 & 0xFF
        address = (_BANK if control & _BKER else 0) + page * PAGE
        self._apply("erase", address, b"\xff" * PAGE, self._erase_us)

    def store(self, at: int, size: int, value: int) -> None:
        """Firmware stores into flash memory (3.3.7)."""
        self._wait()
        errors = self.values[_SR] & _ERRORS
        if not self.values[_CR] & _PG or self.values[_CR] & _PER or errors:
            self._fail(_PGSERR)
        elif size != 4:
            self._fail(_SIZERR)
        elif self._half is None:
            if at % 8:
                self._fail(_PGAERR)
            else:
                self._half = at, value
        else:
            (first_at, first), self._half = self._half, None
            if at != first_at + 4:
                self._fail(_PGAERR)
                return
            data = first.to_bytes(4, "little") + value.to_bytes(4, "little")
            held = self.core.peek(first_at, 8)
            if held != b"\xff" * 8 and any(data):
                self._fail(_PROGERR)
            else:
                self._apply("program", first_at - MEMORY, data, self._program_us)

    def _fail(self, error: int) -> None:
        self._half = None
        self.values[_SR] |= error | (_OPERR if self.values[_CR] & _ERRIE else 0)

    def _apply(self, kind: Kind, address: int, new: bytes, duration_us: float) -> None:
        self._on_operation(kind, address, len(new), duration_us)
        old = self.core.peek(MEMORY + address, len(new))
        operation = FlashOperation(self.operations, kind, address, old, new)
        self.operations += 1
        fault = self.fault_plan(operation) if self.fault_plan else None
        if isinstance(fault, Failure):
            raise self.core.error("met a failing flash cell, which is not emulated here")
        if isinstance(fault, Cut):
            left = {Phase.BEFORE: old, Phase.DURING: fault.content, Phase.AFTER: new}[fault.phase]
            self.core.load(MEMORY + address, left)
            raise PowerIsCutError
        self.core.load(MEMORY + address, new)
        self._busy_until_ns = self.core.now_ns + duration_us * 1000
        if (address < _BANK) == (self.core.pc - MEMORY < _BANK):
            self._wait()  # nothing can be fetched from a bank that is busy
        if self.values[_CR] & _EOPIE:
            self.values[_SR] |= _EOP
