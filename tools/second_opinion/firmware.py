"""A MicroPython for the board, as its makers publish it."""

from __future__ import annotations

from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.emulator.devices.image import from_uf2

_FAMILY_FLAG = 0x2000  # the block names the chip that it is for (UF2 specification)


def read_firmware(path: Path, board: Board) -> list[tuple[int, bytes]]:
    """(Offset in flash, bytes) of a `.uf2`.

    Raises BadInputError when it is not there, is for another chip, does not begin where the chip
    starts, or reaches into what the board's MicroPython leaves to its storage.
    """
    if not path.is_file():
        raise BadInputError(
            f"There is no MicroPython {path}.",
            todo=f"Download the .uf2 for the board {board.name} from MicroPython's own site.",
        )
    data = path.read_bytes()
    segments = from_uf2(path, data, board.chip.flash_base)
    for at in range(0, len(data), 512):
        flags = int.from_bytes(data[at + 8 : at + 12], "little")
        family = int.from_bytes(data[at + 28 : at + 32], "little")
        if flags & _FAMILY_FLAG and family != board.chip.uf2_family:
            raise BadInputError(
                f"{path} is for another chip (family {family:08x}).",
                todo=f"Use the MicroPython for the board {board.name}.",
            )
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
    return segments
