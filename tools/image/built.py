"""An image as it was built, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.emulator.boards.board import Board
from tallystick.tools.image.header import StateFormats
from tallystick.tools.image.keys import SigningKey

FOREIGN = "firmware"
"""The device of an image that was made of a folder: somebody's own."""


@dataclass(frozen=True)
class Built:
    """`flash` is what is written from the start of the storage area on: the boot stage, then the
    first slot with its signed header. Boards without slots have one file system there, and no
    header. `files` and `boot_files`: path in the file system → content."""

    board: Board
    device: str
    version: str
    security: int
    flash: bytes
    files: dict[str, bytes]
    boot_files: dict[str, bytes]
    file_system: bytes
    header: bytes
    key: SigningKey
    formats: StateFormats

    @property
    def address(self) -> int:
        """Where `flash` goes, as the chip sees it."""
        return self.board.storage_address

    @property
    def bytecode_size(self) -> int:
        """Bytes of .mpy in the slot; the boot stage is not counted."""
        return sum(len(data) for name, data in self.files.items() if name.endswith(".mpy"))

    @property
    def boot_size(self) -> int:
        """Bytes of the boot stage."""
        return sum(len(data) for data in self.boot_files.values())
