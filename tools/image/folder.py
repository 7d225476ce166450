"""An image of any firmware: a folder with `main.py` and the modules that it imports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator import coverage
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import MAIN, Project
from tallystick.tools.coverage.instrument import Instrumenter, Table
from tallystick.tools.image import filesystem
from tallystick.tools.image.built import FOREIGN, Built
from tallystick.tools.image.compile import compile_text
from tallystick.tools.image.header import FIRST_FORMAT
from tallystick.tools.image.keys import SigningKey

_RUN_AS_SOURCE = ("boot.py", MAIN)
_OURS = (".py", ".mpy")  # files of a file system that come with an image


def from_folder(folder: Path, board_name: str, instrumenter: Instrumenter | None = None) -> Image:
    """Compiles every module under `folder` and packs one file system at the start of the storage.
    Where coverage is measured, with a counter before every statement.

    Raises BadInputError without a main.py, for source that does not compile, or without room.
    """
    board = find(board_name)
    content = _packed(_compiled(folder, instrumenter), board, f"The firmware in {folder}")
    writable = board.image_format == "littlefs"  # as by the port's own MicroPython
    return Image(board, ((board.storage.address, content),), writable=writable, prints=True)


def of_project(project: Project) -> Image:
    """Of the firmware of a project, for its board. Raises BadInputError."""
    return from_folder(project.firmware, project.board)


def build(folder: Path, board_name: str, version: str, key: SigningKey) -> Built:
    """What `tally image build --firmware` writes. Raises BadInputError."""
    board = find(board_name)
    files = _compiled(folder, None)
    content = _packed(files, board, f"The firmware in {folder}")
    return Built(board, FOREIGN, version, 0, content, files, {}, content, b"", key, FIRST_FORMAT)


def _compiled(folder: Path, instrumenter: Instrumenter | None) -> dict[str, bytes]:
    """Path in the file system → content."""
    if not (folder / MAIN).is_file():
        raise BadInputError(f"{folder} has no {MAIN}.", todo="Name the firmware's own folder.")
    covered = coverage.folder()
    table = instrumenter or (Table() if covered is not None else None)
    texts = {
        path.relative_to(folder).as_posix(): _text(path, table)
        for path in sorted(folder.rglob("*.py"))
    }
    files: dict[str, bytes] = {}
    for name, text in texts.items():
        content = table.finish(text) if table is not None else text
        if name in _RUN_AS_SOURCE:
            files[name] = content.encode()
        else:
            name_there = name.removesuffix(".py") + ".mpy"
            files[name_there] = compile_text(content, name, readable=True)
    if isinstance(table, Table) and covered is not None:
        table.write(covered)
    return files


def _text(path: Path, table: Instrumenter | None) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        return table.instrument(text, path.resolve()) if table is not None else text
    except (SyntaxError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{path} does not compile: {error}.",
            kept="No image was written.",
            todo="Mend the source and build again.",
        ) from None


def _packed(files: dict[str, bytes], board: Board, what: str) -> bytes:
    return filesystem.pack(files, board, room=board.storage.size, what=what)


def with_files_of(image: Image, flash: bytes) -> Image:
    """The image with what an earlier firmware wrote into its file system, which is in `flash`: all
    files but sources and bytecode. Where there is no file system, the image as it is.

    Raises BadInputError when both do not fit together.
    """
    if not image.writable:
        return image
    board = image.board
    room, at = board.storage.size, board.storage.address
    try:
        before = filesystem.unpack(flash[at : at + room], board, room=room)
    except BadInputError:
        return image
    kept = {name: data for name, data in before.items() if not name.endswith(_OURS)}
    files = kept | filesystem.unpack(image.segments[0][1], board, room=room)
    content = _packed(files, board, "The firmware with the files that it has written")
    return replace(image, segments=((at, content),))
