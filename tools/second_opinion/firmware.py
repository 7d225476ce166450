"""A MicroPython for the board, as its makers publish it, or as it was built: with its symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import FLASH_BASE, Board
from tallystick.emulator.devices.image import from_uf2

_FAMILIES = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF59}
_FAMILY_FLAG = 0x2000  # the block names the chip that it is for (UF2 specification)
_ABSOLUTE = 0xE48BFF57  # a block for erratum E10 of the RP2350's boot ROM, no part of the program
_ELF = b"\x7fELF"


@dataclass(frozen=True)
class Firmware:
    """segments: (offset in flash, bytes). symbols: name → address, of an ELF file."""

    segments: list[tuple[int, bytes]]
    symbols: Mapping[str, int] = field(default_factory=dict)


def read_firmware(path: Path, board: Board) -> list[tuple[int, bytes]]:
    """(Offset in flash, bytes), see `load_firmware`."""
    return load_firmware(path, board).segments


def load_firmware(path: Path, board: Board) -> Firmware:
    """A `.uf2` or an ELF file.

    Raises BadInputError when it is not there, is for another chip, does not begin where the chip
    starts, or reaches into what the board's MicroPython leaves to its storage.
    """
    if not path.is_file():
        raise BadInputError(
            f"There is no MicroPython {path}.",
            todo=f"Download the .uf2 for the board {board.name} from MicroPython's own site.",
        )
    data = path.read_bytes()
    elf = data.startswith(_ELF)
    firmware = _from_elf(path, board) if elf else Firmware(_from_uf2(path, data, board))
    segments = firmware.segments
    if not segments or min(segments)[0] != 0:
        raise BadInputError(
            f"{path} does not begin where the chip starts: it is no MicroPython.",
            todo="Our own images are flashed beside MicroPython, and are not given here.",
        )
    end = max(address + len(part) for address, part in segments)
    if end > board.storage.address:
        raise BadInputError(
            f"{path} ends at {end:#x}, inside the storage that begins at "
            f"{board.storage.address:#x}.",
            todo=f"Use a MicroPython that was built for the board {board.name}.",
        )
    return firmware


def _from_uf2(path: Path, data: bytes, board: Board) -> list[tuple[int, bytes]]:
    blocks = b""
    for at in range(0, len(data), 512):
        flags = int.from_bytes(data[at + 8 : at + 12], "little")
        family = int.from_bytes(data[at + 28 : at + 32], "little")
        if flags & _FAMILY_FLAG and family == _ABSOLUTE:
            continue
        if flags & _FAMILY_FLAG and family != _FAMILIES.get(board.chip):
            raise BadInputError(
                f"{path} is for another chip (family {family:08x}).",
                todo=f"Use the MicroPython for the board {board.name}.",
            )
        blocks += data[at : at + 512]
    return from_uf2(path, blocks, FLASH_BASE[board.chip])


def _from_elf(path: Path, board: Board) -> Firmware:
    try:
        elffile: Any = import_module("elftools.elf.elffile")
    except ImportError as error:
        raise BadInputError(
            "An ELF file is read with pyelftools, which is not installed.",
            todo="pip install 'tallystick[unicorn]', or give the .uf2.",
        ) from error
    base = FLASH_BASE[board.chip]
    with path.open("rb") as file:
        elf = elffile.ELFFile(file)
        segments = [
            (int(part["p_paddr"]) - base, bytes(part.data()))
            for part in elf.iter_segments("PT_LOAD")
            if part["p_filesz"] and base <= part["p_paddr"] < base + board.flash_size
        ]
        table = elf.get_section_by_name(".symtab")
        symbols = {one.name: int(one["st_value"]) for one in table.iter_symbols()} if table else {}
    return Firmware(segments, symbols)
