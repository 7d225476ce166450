"""A MicroPython for the board, as its build makes it."""

from __future__ import annotations

from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import FLASH_BASE, Board
from tallystick.emulator.devices.image import from_hex, from_uf2

Segments = list[tuple[int, bytes]]

_FAMILIES = {"rp2040": 0xE48BFF56}
_FAMILY_FLAG = 0x2000  # the block names the chip that it is for (UF2 specification)
_FILES = {"rp2040": ".uf2", "rp2350": ".uf2", "stm32l4": ".hex or .bin"}
_RAM_TOP = {"stm32l4": (0x10000000, 0x20018000)}  # where a first stack pointer can be


def read_firmware(path: Path, board: Board) -> Segments:
    """(Offset in flash, bytes) of a `.uf2` (RP2 boards), `.hex` or `.bin` (STM32).

    Raises BadInputError when it is not there, is for another chip, does not begin where the chip
    starts, or reaches into what the board's flash map gives to something else.
    """
    if not path.is_file():
        raise BadInputError(
            f"There is no MicroPython {path}.",
            todo=f"Build one for the board {board.name} ({_FILES[board.chip]}, docs/boards.md).",
        )
    segments = _read_arm(path, board) if board.chip == "stm32l4" else _read_uf2(path, board)
    if not segments or min(segments)[0] != 0:
        raise BadInputError(
            f"{path} does not begin where the chip starts: it is no MicroPython.",
            todo="Our own images are flashed beside MicroPython, and are not given here.",
        )
    end = max(address + len(part) for address, part in segments)
    first, what = _room(board)
    if end > first:
        raise BadInputError(
            f"{path} ends at {end:#x}, inside the {what} that begins at {first:#x}.",
            todo=f"Use a MicroPython that was built for the board {board.name}.",
        )
    return segments


def _room(board: Board) -> tuple[int, str]:
    """The first address that is not MicroPython's, and whose it is."""
    regions = {
        "storage": board.storage, "boot record": board.record,
        "identity": board.identity, "journal": board.journal,
    }  # fmt: skip
    return min((region.address, name) for name, region in regions.items() if region is not None)


def _read_uf2(path: Path, board: Board) -> Segments:
    data = path.read_bytes()
    segments = from_uf2(path, data, FLASH_BASE[board.chip])
    for at in range(0, len(data), 512):
        flags = int.from_bytes(data[at + 8 : at + 12], "little")
        family = int.from_bytes(data[at + 28 : at + 32], "little")
        if flags & _FAMILY_FLAG and family != _FAMILIES[board.chip]:
            raise BadInputError(
                f"{path} is for another chip (family {family:08x}).",
                todo=f"Use the MicroPython for the board {board.name}.",
            )
    return segments


def _read_arm(path: Path, board: Board) -> Segments:
    """Its vector table has to be one of this chip."""
    base = FLASH_BASE[board.chip]
    segments = from_hex(path, base) if path.suffix == ".hex" else [(0, path.read_bytes())]
    start = min(segments)[1] if segments else b""
    stack, entry = (int.from_bytes(start[at : at + 4], "little") for at in (0, 4))
    low, high = _RAM_TOP[board.chip]
    in_flash = base <= entry < base + board.flash_size and entry & 1
    if segments and min(segments)[0] == 0 and not (low < stack <= high and in_flash):
        raise BadInputError(
            f"{path} does not begin with this chip's vector table (stack {stack:#x}, start "
            f"{entry:#x}).",
            todo=f"Use the MicroPython that was built for the board {board.name}.",
        )
    return segments
