"""The file system of an image, as the board's MicroPython mounts it."""

from __future__ import annotations

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.tools.image import little_fs, romfs

_UNIT = 256  # bytes: an image is a multiple of what any of our flashes programs at once


def pack(files: dict[str, bytes], board: Board, *, room: int, what: str) -> bytes:
    """A file system with `files`, up to the end of what it uses. To the board it is `room` bytes.

    Raises BadInputError when the files do not fit.
    """
    if board.image_format == "romfs":
        content = romfs.pack(files)
        content = content.ljust(-(-len(content) // _UNIT) * _UNIT, b"\xff")
    else:
        content = little_fs.pack(files, board.storage_block, room)
    need_room(what, len(content), room)
    return content


def need_room(what: str, size: int, room: int) -> None:
    """Raises BadInputError when `size` bytes do not fit."""
    if size > room:
        raise BadInputError(
            f"{what} takes {size:,} bytes; the flash map has {room:,} for it.",
            kept="No image was written.",
            todo="Take modules out, or give it more room in the flash map.",
        )


def unpack(content: bytes, board: Board, *, room: int) -> dict[str, bytes]:
    """The files of a file system made by `pack`. Raises BadInputError when it does not mount."""
    if board.image_format == "romfs":
        return romfs.unpack(content)
    return little_fs.unpack(content, board.storage_block, room)
