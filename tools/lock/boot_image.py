"""The signed boot image of an RP2350: the board's MicroPython and the block that signs it."""

from __future__ import annotations

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import Board
from tallystick.tools import uf2
from tallystick.tools.lock import picobin
from tallystick.tools.lock.boot_key import BootKey

Parts = list[tuple[int, bytes]]
"""(address as the chip sees it, content)"""


def signed(board: Board, base: Parts, key: BootKey) -> bytes:
    """UF2 of `base`, signed. Raises BadInputError for a board without secure boot, or a MicroPython
    that is not this board's."""
    if board.chip.lock != "burnt rows":
        raise BadInputError(
            f"{board.name} has no secure boot.",
            kept="Nothing was signed.",
            todo="Name the board that it is for: --board pico2, say.",
        )
    start = board.chip.flash_base
    end = max((address + len(data) for address, data in base), default=start)
    end = (end + 255) // 256 * 256  # whole pages: the signature's block begins one
    if min((address for address, _ in base), default=-1) != start:
        raise BadInputError(
            f"This MicroPython does not begin where {board.name} starts.",
            kept="Nothing was signed.",
            todo=f"Take the whole MicroPython made for {board.name}.",
        )
    image = bytearray(b"\xff" * (end - start))
    for address, data in base:
        image[address - start : address - start + len(data)] = data
    content = picobin.sign(bytes(image), start, key)
    if start + len(content) > board.storage_address:
        raise BadInputError(
            "This MicroPython reaches into the firmware's area once it is signed.",
            kept="Nothing was written.",
            todo="Take the MicroPython that docs/reference/boards.md names.",
        )
    assert board.chip.uf2_family is not None
    return uf2.encode_parts([(start, content)], board.chip.uf2_family)
