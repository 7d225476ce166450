"""What is in an image file, wherever it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import BOARDS, find
from tallystick.emulator.boards.board import Board
from tallystick.emulator.devices.image import Image
from tallystick.tools.image import filesystem
from tallystick.tools.image.header import SIGNATURE_SIZE, SIZE, Header
from tallystick.tools.image.keys import DEVELOPMENT_PUBLIC, is_signed
from tallystick.tools.image.memory import Area, areas
from tallystick.tools.image.merge import read_parts
from tallystick.tools.image.outputs import MANIFEST


@dataclass(frozen=True)
class InspectedImage:
    """`header` of the first slot, None where there is none. `files`: path → bytes of that slot's
    file system. signed_by: "development", "another key" or "" without a header."""

    board: Board
    header: Header | None
    signed_by: str
    files: dict[str, int]
    boot_files: dict[str, int]
    areas: list[Area]


def inspect(path: Path, board_name: str | None = None) -> InspectedImage:
    """Reads .bin, .hex, .uf2 or .update, or the image in the folder of a build. Raises
    BadInputError."""
    if path.is_dir():
        path = _in_build(path)
    if path.suffix == ".update":
        return _update(path)
    if board_name is None and path.suffix in (".hex", ".uf2"):
        parts = read_parts(path)
        board = _guess(parts) or Image.load(path).board
    else:
        image = Image.load(path, board_name)
        board = image.board
        parts = [(board.chip.flash_base + at, data) for at, data in image.segments]
    return _found(board, dict(parts))


def _in_build(folder: Path) -> Path:
    """The image in a folder that `tally image build` wrote."""
    found = sorted(folder.glob("*.bin")) if (folder / MANIFEST).is_file() else []
    if len(found) != 1:
        raise BadInputError(
            f"{folder} is not the folder of a build.",
            todo="Name the folder that `tally image build` wrote, or a file.",
        )
    return found[0]


def _guess(parts: list[tuple[int, bytes]]) -> Board | None:
    """The board that a header in the parts names."""
    for board in BOARDS.values():
        if board.slots:
            data = _read(board, dict(parts), board.slots[0].address, SIZE)
            header = Header.decode(data)
            if header is not None and header.board == board.name:
                return board
    return None


def _update(path: Path) -> InspectedImage:
    data = path.read_bytes()
    header = Header.decode(data)
    if header is None:
        raise BadInputError(f"{path} is not an update file.")
    board = find(header.board)
    address = board.chip.flash_base + board.slots[0].address
    sector = board.flash_timing.sector
    signed, content = data[: SIZE + SIGNATURE_SIZE], data[SIZE + SIGNATURE_SIZE :]
    return _found(board, {address: signed.ljust(sector, b"\xff") + content})


def _found(board: Board, flash: dict[int, bytes]) -> InspectedImage:
    header, signed_by, files, boot_files, own = None, "", {}, {}, False
    if board.slots:
        slot, sector = board.slots[0], board.flash_timing.sector
        signed = _read(board, flash, slot.address, SIZE + SIGNATURE_SIZE)
        header = Header.decode(signed)
        if header is not None:
            known = is_signed(DEVELOPMENT_PUBLIC, signed[:SIZE], signed[SIZE:])
            signed_by = "development" if known else "another key"
            room = slot.size - sector
            content = _read(board, flash, slot.address + sector, room)
            files = _sizes(content, board, room)
            assert board.boot is not None
            boot = _read(board, flash, board.boot.address, board.boot.size)
            if boot.strip(b"\xff"):
                boot_files = _sizes(boot, board, board.storage.size)
        else:
            files = _of_a_folder(board, flash)
            own = bool(files)
    else:
        content = _read(board, flash, board.file_system.address, board.file_system.size)
        files = _sizes(content, board, board.storage.size)
    rows = areas(board, flash, own=own)
    return InspectedImage(board, header, signed_by, files, boot_files, rows)


def _of_a_folder(board: Board, flash: dict[int, bytes]) -> dict[str, int]:
    """Files of an image that was made of somebody's own folder: it takes the whole storage."""
    content = _read(board, flash, board.storage.address, board.storage.size)
    try:
        found = _sizes(content, board, board.storage.size)
    except BadInputError:
        return {}
    return found if "main.py" in found else {}


def _sizes(content: bytes, board: Board, room: int) -> dict[str, int]:
    unpacked = filesystem.unpack(content, board, room=room)
    return {name: len(data) for name, data in sorted(unpacked.items())}


def _read(board: Board, flash: dict[int, bytes], address: int, size: int) -> bytes:
    """A range of the flash, blank where the image writes nothing."""
    begin = board.chip.flash_base + address
    out = bytearray(b"\xff" * size)
    for start, data in flash.items():
        low, high = max(start, begin), min(start + len(data), begin + size)
        if low < high:
            out[low - begin : high - begin] = data[low - start : high - start]
    return bytes(out)
