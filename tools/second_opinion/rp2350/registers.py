"""Registers of peripherals, and the bus that finds them (RP2350 data sheet, 2.1 and 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tallystick.tools.second_opinion.cortex import ChipError, Cortex

_SPACING, _LARGE, _PAGE = 0x8000, 0x10000, 0x1000  # of peripherals
_XOR, _SET, _CLEAR = 1, 2, 3  # writes to a peripheral's address + 0x1000, 0x2000, 0x3000
WORD = 0xFFFFFFFF


class RegisterBlock:
    """One peripheral. `kept` registers (offset → value after reset) hold what is written; the
    others have a function. Any other register is unknown, and raises ChipError."""

    flat = False  # its addresses are all its own: no XOR, SET, CLEAR

    def __init__(
        self, core: Cortex, name: str, kept: Mapping[int, int] | Iterable[int] = ()
    ) -> None:
        self.core = core
        self.name = name
        self.kept = dict(kept) if isinstance(kept, Mapping) else dict.fromkeys(kept, 0)
        self.reads: dict[int, Callable[[], int]] = {}
        self.writes: dict[int, Callable[[int], None]] = {}

    def read(self, offset: int) -> int:
        if offset in self.reads:
            return self.reads[offset]() & WORD
        if offset in self.kept:
            return self.kept[offset]
        raise self._unknown(offset, "reads")

    def write(self, offset: int, value: int) -> None:
        if offset in self.kept:
            self.kept[offset] = value
        elif offset not in self.writes:
            raise self._unknown(offset, "writes")
        if offset in self.writes:
            self.writes[offset](value)

    def change(self, offset: int, alias: int, value: int) -> None:
        """A write to one of the four addresses that a register has."""
        if alias == _XOR:
            value = self.read(offset) ^ value
        elif alias == _SET:
            value = self.read(offset) | value
        elif alias == _CLEAR:
            value = self.read(offset) & ~value & WORD
        self.write(offset, value)

    def _unknown(self, offset: int, verb: str) -> ChipError:
        return self.core.error(f"{verb} {self.name} {offset:#05x}, a register that is not here")


class PeripheralMemory(RegisterBlock):
    """A peripheral's own memory: any width, any alignment."""

    def __init__(self, core: Cortex, name: str, size: int) -> None:
        super().__init__(core, name)
        self.data = bytearray(size)

    def read_some(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write_some(self, offset: int, alias: int, size: int, value: int) -> None:
        old = self.read_some(offset, size)
        new = {_XOR: old ^ value, _SET: old | value, _CLEAR: old & ~value}.get(alias, value)
        mask = (1 << 8 * size) - 1
        self.data[offset : offset + size] = (new & mask).to_bytes(size, "little")


class Bus:
    """`size` bytes from `base`, in which the blocks lie (address → block)."""

    def __init__(
        self, core: Cortex, base: int, size: int, blocks: Mapping[int, RegisterBlock]
    ) -> None:
        self._core = core
        self._base = base
        self._blocks = blocks
        self._pages = [self._page(address) for address in range(base, base + size, _PAGE)]
        core.window(base, size, self)

    def _page(self, address: int) -> tuple[RegisterBlock, int, int] | None:
        """Whose 4 KiB these are, where they begin in it, and as which of four aliases."""
        for granule in (_SPACING, _LARGE):
            block = self._blocks.get(address & -granule)
            if block is not None and block.flat:
                return block, address & (_LARGE - 1), 0
            if block is not None:
                return block, 0, address >> 12 & 3
        return None

    def _find(self, address: int) -> tuple[RegisterBlock, int, int]:
        offset = address - self._base
        page = self._pages[offset >> 12]
        if page is None:
            raise self._core.error(f"touches {address:#010x}, where nothing is")
        block, start, alias = page
        return block, start + (offset & (_PAGE - 1)), alias

    def read(self, address: int, width: int) -> int:
        block, at, _ = self._find(address)
        if isinstance(block, PeripheralMemory):
            return block.read_some(at, width)
        word = block.read(at & ~3)
        return word if width == 4 else word >> 8 * (at & 3) & ((1 << 8 * width) - 1)

    def write(self, address: int, width: int, value: int) -> None:
        block, at, alias = self._find(address)
        if isinstance(block, PeripheralMemory):
            block.write_some(at, alias, width, value)
            return
        if width < 4:  # narrow writes are replicated across the bus (2.1.5)
            value = int.from_bytes(value.to_bytes(width, "little") * (4 // width), "little")
        block.change(at & ~3, alias, value)
