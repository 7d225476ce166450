"""An image: the firmware compiled, packed as the flash map of a board says, and signed."""

from __future__ import annotations

from pathlib import Path

from tallystick.emulator import coverage
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board
from tallystick.tools import firmware
from tallystick.tools.image import filesystem, outputs
from tallystick.tools.image.built import Built
from tallystick.tools.image.compile import (
    READER_VERSION_MODULE,
    TRUST_MODULE,
    VERSION_MODULE,
    compile_all,
)
from tallystick.tools.image.header import Header, parse_version
from tallystick.tools.image.keys import SigningKey, point_x
from tallystick.tools.image.state_formats import read_by


def build(
    device: str,
    board_name: str,
    version: str,
    *,
    key: SigningKey | None = None,
    security: int = 0,
    readable: bool = False,
) -> Built:
    """The image of a device on a board; nothing is written to disk.

    key: signs the image, and is the one whose images the device will take; default: the published
    development key. security: anti-rollback version. readable: for debugging, with the names and
    line numbers of the sources. Raises BadInputError.
    """
    board = find(board_name)
    key = key or SigningKey.development()
    numbers = parse_version(version)
    replaced = {
        VERSION_MODULE: f"VERSION = {numbers}\n",
        READER_VERSION_MODULE: f"NUMBER = {hex(int.from_bytes(bytes(numbers)))}\n",
        TRUST_MODULE: f"PUBLIC_KEY = {key.public!r}\nX = {hex(point_x(key.public))}\n",
    }
    sources = firmware.sources(device, board)
    formats = read_by(device)
    files = compile_all(sources, replaced=replaced, readable=readable, covered=coverage.folder())
    if not board.slots:
        content = filesystem.pack(files, board, room=board.storage.size, what="The image")
        filesystem.need_room("The image", len(content), board.file_system.size)
        return Built(
            board, device, version, security, content, files, {}, content, b"", key, formats
        )  # fmt: skip
    slot, sector = board.slots[0], board.flash_timing.sector
    content = filesystem.pack(files, board, room=slot.size - sector, what="The image")
    plain = Header.of(
        content,
        device=device,
        board=board.name,
        version=version,
        security=security,
        formats=formats,
    ).encode()
    header = plain + key.sign(plain)
    boot_files = compile_all(firmware.boot_sources(board), replaced={})
    flash = _boot(board, boot_files).ljust(slot.address - board.storage.address, b"\xff")
    flash += header.ljust(sector, b"\xff") + content
    return Built(
        board, device, version, security, flash, files, boot_files, content, header, key, formats
    )  # fmt: skip


def _boot(board: Board, files: dict[str, bytes]) -> bytes:
    """The boot stage's file system. To MicroPython it is as large as the storage area, whose
    remainder the boot stage knows how to use."""
    assert board.boot is not None
    content = filesystem.pack(files, board, room=board.storage.size, what="The boot stage")
    filesystem.need_room("The boot stage", len(content), board.boot.size)
    return content


def write(built: Built, folder: Path) -> dict[str, Path]:
    """Writes the image into `folder`; returns what was written by kind: bin, hex, uf2 (RP2 boards),
    update (boards with slots), sbom, manifest, signature."""
    return outputs.write(built, folder)
