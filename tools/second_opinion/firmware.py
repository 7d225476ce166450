"""A MicroPython for the board, as its build makes it; an ELF file has its symbols too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.emulator.devices.image import from_hex, from_uf2

Segments = list[tuple[int, bytes]]

_FAMILIES = {"rp2040": 0xE48BFF56, "rp2350": 0xE48BFF59}
_FAMILY_FLAG = 0x2000  # the block names the chip that it is for (UF2 specification)
_ABSOLUTE = 0xE48BFF57  # a block for erratum E10 of the RP2350's boot ROM, no part of the program
_ELF = b"\x7fELF"
_FILES = {"rp2040": ".uf2", "rp2350": ".uf2 or .elf", "stm32l4": ".hex or .bin"}
# Where a first stack pointer can be, of chips that begin with their vector table. The RP2040 begins
# with code.
_STACK = {"rp2350": (0x20000000, 0x20082000), "stm32l4": (0x10000000, 0x20018000)}


@dataclass(frozen=True)
class Firmware:
    """symbols: name → address, of an ELF file."""

    segments: Segments
    symbols: Mapping[str, int] = field(default_factory=dict)


def read_firmware(path: Path, board: Board) -> Segments:
    """(Offset in flash, bytes), see `load_firmware`."""
    return load_firmware(path, board).segments


def load_firmware(path: Path, board: Board) -> Firmware:
    """Of a `.uf2` (RP2 boards), `.hex` or `.bin` (STM32), or an ELF file.

    Raises BadInputError when it is not there, is for another chip, does not begin where the chip
    starts, or reaches into what the board's flash map gives to something else.
    """
    if not path.is_file():
        raise BadInputError(
            f"There is no MicroPython {path}.",
            todo=f"Build it for {board.name}: {_FILES[board.chip.name]}, docs/reference/boards.md.",
        )
    if path.read_bytes()[:4] == _ELF:
        firmware = _read_elf(path, board)
    elif board.chip.name == "stm32l4":
        firmware = Firmware(_read_arm(path, board))
    else:
        firmware = Firmware(_read_uf2(path, board))
    segments = firmware.segments
    if not segments or min(segments)[0] != 0:
        raise BadInputError(
            f"{path} does not begin where the chip starts: it is no MicroPython.",
            todo="Our own images are flashed beside MicroPython, and are not given here.",
        )
    _check_vectors(path, board, segments)
    end = max(address + len(part) for address, part in segments)
    first, what = _room(board)
    if end > first:
        raise BadInputError(
            f"{path} ends at {end:#x}, inside the {what} that begins at {first:#x}.",
            todo=f"Use a MicroPython that was built for the board {board.name}.",
        )
    return firmware


def _room(board: Board) -> tuple[int, str]:
    """The first address that is not MicroPython's, and whose it is."""
    regions = {
        "storage": board.storage, "boot record": board.record,
        "identity": board.identity, "journal": board.journal,
    }  # fmt: skip
    return min((region.address, name) for name, region in regions.items() if region is not None)


def _read_uf2(path: Path, board: Board) -> Segments:
    data = path.read_bytes()
    blocks = b""
    for at in range(0, len(data), 512):
        flags = int.from_bytes(data[at + 8 : at + 12], "little")
        family = int.from_bytes(data[at + 28 : at + 32], "little")
        if flags & _FAMILY_FLAG and family == _ABSOLUTE:
            continue
        blocks += data[at : at + 512]
        if flags & _FAMILY_FLAG and family != _FAMILIES[board.chip.name]:
            raise BadInputError(
                f"{path} is for another chip (family {family:08x}).",
                todo=f"Use the MicroPython for the board {board.name}.",
            )
    there, said = len(blocks) // 512, int.from_bytes(blocks[24:28], "little")
    if blocks and len(data) % 512 == 0 and there != said:
        raise BadInputError(
            f"{path} has {there} blocks of {said}: it was cut off.",
            todo="Build or copy it again.",
        )
    return from_uf2(path, blocks, board.chip.flash_base)


def _read_elf(path: Path, board: Board) -> Firmware:
    try:
        elffile: Any = import_module("elftools.elf.elffile")
    except ImportError as error:
        raise BadInputError(
            "An ELF file is read with pyelftools, which is not installed.",
            todo=f"pip install 'tallystick[unicorn]', or give the {_FILES[board.chip.name]}.",
        ) from error
    try:
        with path.open("rb") as file:
            return _elf_parts(elffile.ELFFile(file), board)
    except Exception as error:  # whatever its reader stumbles over in what is no ELF file
        raise BadInputError(
            f"{path} is no whole ELF file: {error}.", todo="Build or copy it again."
        ) from error


def _elf_parts(elf: Any, board: Board) -> Firmware:
    base = board.chip.flash_base
    segments = [
        (int(part["p_paddr"]) - base, bytes(part.data()))
        for part in elf.iter_segments("PT_LOAD")
        if part["p_filesz"] and base <= part["p_paddr"] < base + board.flash_size
    ]
    table = elf.get_section_by_name(".symtab")
    symbols = {one.name: int(one["st_value"]) for one in table.iter_symbols()} if table else {}
    return Firmware(segments, symbols)


def _read_arm(path: Path, board: Board) -> Segments:
    if path.suffix == ".hex":
        return from_hex(path, board.chip.flash_base)
    return [(0, path.read_bytes())]


def _check_vectors(path: Path, board: Board, segments: Segments) -> None:
    """A vector table of the chip has to be at the begin, where the chip looks for one there."""
    data = min(segments)[1]
    stack, entry = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
    base = board.chip.flash_base
    in_flash = base <= entry < base + board.flash_size and bool(entry & 1)
    wanted = board.chip.name if board.chip.name in _STACK else "rp2350"
    low, high = _STACK[wanted]
    if (low < stack <= high and in_flash) != (wanted == board.chip.name):
        raise BadInputError(
            f"{path} does not begin as a program of this chip does (stack {stack:#x}, start "
            f"{entry:#x}).",
            todo=f"Use the MicroPython that was built for the board {board.name}.",
        )
