"""Option bytes of an STM32L47x/L48x (RM0351, 3.4 and 3.7): what a board of ours is locked with.

The registers are written through OpenOCD's `stm32l4x option_write BANK OFFSET VALUE MASK`, and
count from the next `option_load` on. Read-out protection comes last, and alone: level 2 can never
be taken back, and no probe gets in again to mend the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board, Region

REGISTERS = 0x40022000
_OPTR, _WRP1A, _WRP1B, _WRP2A = 0x20, 0x2C, 0x30, 0x4C
_WRP_MASK = 0x00FF00FF
_RDP_MASK, _BOR_MASK, _BFB2 = 0x000000FF, 0x00000700, 1 << 20
_BANK = 0x80000
OPEN = 0xAA
READ_OUT = {1: 0xBB, 2: 0xCC}
_BROWN_OUT = 1  # level 1: reset below about 2.0 V (RM0351, 3.4.1: BOR_LEV)


@dataclass(frozen=True)
class OptionRegister:
    """`value` goes into the bits of `mask`. words: what that means."""

    offset: int
    value: int
    mask: int
    words: str

    @property
    def address(self) -> int:
        return REGISTERS + self.offset

    def holds(self, content: int) -> bool:
        return content & self.mask == self.value

    def command(self) -> str:
        return f"stm32l4x option_write 0 {self.offset:#x} {self.value:#x} {self.mask:#x}"


@dataclass(frozen=True)
class OptionBytes:
    """`first` are written, loaded and read back; then `last`, the read-out protection."""

    first: tuple[OptionRegister, ...]
    last: OptionRegister

    def is_open(self, optr: int) -> bool:
        return optr & _RDP_MASK == OPEN


def plan(board: Board, read_out: int) -> OptionBytes:
    """read_out: the level, 1 or 2. Raises BadInputError for a board of another family, or whose
    areas are not whole pages."""
    if board.chip.lock != "option bytes" or board.record is None or board.boot is None:
        raise BadInputError(
            f"{board.name} has no option bytes.",
            todo="A chip with secure boot is locked with its boot key.",
        )
    below = Region(0, board.record.address)
    first = (
        _protected(board, _WRP1A, below, "MicroPython"),
        _protected(board, _WRP1B, board.identity, "serial number and transport keys"),
        _protected(board, _WRP2A, board.boot, "the boot stage"),
        OptionRegister(
            _OPTR,
            _BROWN_OUT << 8,
            _BOR_MASK | _BFB2,
            "brown-out level 1: the chip stops below about 2.0 V; bank 1 starts",
        ),
    )
    return OptionBytes(first, OptionRegister(_OPTR, READ_OUT[read_out], _RDP_MASK, _SAID[read_out]))


def _protected(board: Board, offset: int, region: Region, what: str) -> OptionRegister:
    page = board.flash_timing.sector
    if region.address % page or region.size % page:
        raise BadInputError(f"{what} of {board.name} is not whole pages of flash.")
    first = region.address % _BANK // page
    last = first + region.size // page - 1
    if region.address // _BANK != (region.end - 1) // _BANK:
        raise BadInputError(f"{what} of {board.name} reaches over both banks.")
    words = f"write protection of pages {first} to {last}: {what}"
    return OptionRegister(offset, last << 16 | first, _WRP_MASK, words)


_SAID = {
    1: "read-out protection level 1: a probe reads no flash; going back erases all of it",
    2: "read-out protection level 2: no probe and no boot ROM ever again, and no going back",
}
