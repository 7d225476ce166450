"""Registers of peripherals, and the bus that finds them (RP2350 data sheet, 2.1 and 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tallystick.tools.second_opinion.cortex import ChipError, Cortex

_SPACING = 0x8000  # of peripherals on the APB
_XOR, _SET, _CLEAR = 1, 2, 3  # writes to a peripheral's address + 0x1000, 0x2000, 0x3000
WORD = 0xFFFFFFFF


class Block:
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


class Memory(Block):
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

    def __init__(self, core: Cortex, base: int, size: int, blocks: Mapping[int, Block]) -> None:
        self._core = core
        self._base = base
        self._blocks = {
            address: block for address, block in blocks.items() if base <= address < base + size
        }
        core.window(base, size, self)

    def _find(self, address: int) -> tuple[Block, int]:
        block = self._blocks.get(address & ~(_SPACING - 1)) or self._blocks.get(address & ~0xFFFF)
        if block is None:
            raise self._core.error(f"touches {address:#010x}, where nothing is")
        return block, address & (0xFFFF if block.flat else 0xFFF)

    def read(self, offset: int, width: int) -> int:
        block, offset = self._find(self._base + offset)
        if isinstance(block, Memory):
            return block.read_some(offset, width)
        shift = 8 * (offset & 3)
        return block.read(offset & ~3) >> shift & ((1 << 8 * width) - 1)

    def write(self, offset: int, width: int, value: int) -> None:
        address = self._base + offset
        block, offset = self._find(address)
        alias = 0 if block.flat else address >> 12 & 3
        if isinstance(block, Memory):
            block.write_some(offset, alias, width, value)
            return
        if width < 4:  # narrow writes are replicated across the bus (2.1.5)
            value = int.from_bytes(value.to_bytes(width, "little") * (4 // width), "little")
        block.change(offset & ~3, alias, value)
