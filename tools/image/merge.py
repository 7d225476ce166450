"""One file for a production programmer: MicroPython, our image, and a card's segment, merged."""

from __future__ import annotations

import io
from pathlib import Path

from intelhex import HexRecordError, IntelHex

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.emulator.chips import CHIPS
from tallystick.tools import uf2
from tallystick.tools.image.outputs import intel_hex

# Where some tools put a block that is no content.
_PADDING = {chip.uf2_padding for chip in CHIPS.values()}

Parts = list[tuple[int, bytes]]
"""(address as the chip sees it, content)"""


def read_parts(path: Path) -> Parts:
    """The content of an Intel HEX or UF2 file. Raises BadInputError when it is neither."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    if data.startswith(uf2.MAGIC):
        try:
            return [part for part in uf2.decode(data) if part[0] not in _PADDING]
        except ValueError as error:
            raise BadInputError(
                f"{path} is damaged: {error}.", todo="Download or copy it again."
            ) from None
    try:
        content = IntelHex(io.StringIO(data.decode("ascii")))
    except (HexRecordError, ValueError) as error:
        raise BadInputError(
            f"{path} is neither Intel HEX nor UF2: {error}.",
            todo="Name the MicroPython of the board as .hex or .uf2.",
        ) from None
    return [
        (start, content.tobinstr(start=start, size=end - start))
        for start, end in content.segments()
    ]


def merge(board: Board, base: Parts, image: Parts, identity: bytes = b"") -> bytes:
    """Intel HEX of all of it. `base` is the board's MicroPython.

    Raises BadInputError when MicroPython reaches into an area that is ours, when it is not there
    where the chip starts, or when parts overlap.
    """
    start = board.chip.flash_base
    ours = [board.identity, board.journal, board.storage]
    if board.record is not None:
        ours.append(board.record)
    for address, data in base:
        end = address + len(data)
        if address < start or end > start + board.flash_size:
            raise BadInputError(
                f"This MicroPython has bytes at {address:#x}, where {board.name} has no flash.",
                kept="Nothing was written.",
                todo=f"Take the MicroPython made for {board.name}.",
            )
        for region in ours:
            if address < start + region.end and start + region.address < end:
                raise BadInputError(
                    f"This MicroPython reaches {end:#x}, into an area of the firmware that begins "
                    f"at {start + region.address:#x}.",
                    kept="Nothing was written.",
                    todo="Take the MicroPython that boards.md names, or move the flash map.",
                )
    if not any(address <= start < address + len(data) for address, data in base):
        raise BadInputError(
            f"This MicroPython has nothing at {start:#x}, where {board.name} starts.",
            kept="Nothing was written.",
            todo=f"Take the whole MicroPython made for {board.name}.",
        )
    parts = [*base, *image]
    if identity:
        parts.append((start + board.identity.address, identity))
    return intel_hex(parts)
