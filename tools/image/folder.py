"""An image of any firmware: a folder with `main.py`, modules and data files
(`devices/project_files.py` says which files are meant)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator import coverage
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import MAIN, Project
from tallystick.emulator.devices.project_files import ProjectFiles
from tallystick.tools.coverage.instrument import Instrumenter, Table
from tallystick.tools.image import filesystem
from tallystick.tools.image.built import FOREIGN, Built
from tallystick.tools.image.compile import compile_text
from tallystick.tools.image.header import FIRST_FORMAT
from tallystick.tools.image.keys import SigningKey

_RUN_AS_SOURCE = ("boot.py", MAIN)
_OURS = (".py", ".mpy")  # files of a file system that come with an image
_NATIVE = re.compile(r"^\s*@micropython\.(native|viper|asm_\w+)\b", re.MULTILINE)
"""Machine code is made by the board, for its own chip: such a module goes there as source."""


@dataclass
class _Compiled:
    """files: path in the file system → content. lines: see `Image`. data: files that are no
    modules."""

    files: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)


def from_folder(folder: Path, board_name: str, instrumenter: Instrumenter | None = None) -> Image:
    """As `of_project`, of a folder for which no board.toml is looked for."""
    return _image(ProjectFiles(folder), board_name, instrumenter)


def of_project(project: Project, instrumenter: Instrumenter | None = None) -> Image:
    """Compiles every module of a project and packs one file system at the start of its board's
    storage. Where coverage is measured, with a counter before every statement.

    Raises BadInputError without a main.py, for source that does not compile, or without room.
    """
    return _image(project.on_board, project.board, instrumenter)


def _image(files: ProjectFiles, board_name: str, instrumenter: Instrumenter | None) -> Image:
    board = find(board_name)
    made = _compiled(files, instrumenter)
    content = _packed(made.files, board, f"The firmware in {files.folder}")
    writable = board.image_format == "littlefs"  # as by the port's own MicroPython
    return Image(
        board, ((board.storage.address, content),), writable=writable, prints=True,
        lines=made.lines, brought=made.data,
    )  # fmt: skip


def build(project: Project, version: str, key: SigningKey) -> Built:
    """What `tally image build --firmware` writes. Raises BadInputError."""
    board = find(project.board)
    files = _compiled(project.on_board, None).files
    content = _packed(files, board, f"The firmware in {project.firmware}")
    return Built(board, FOREIGN, version, 0, content, files, {}, content, b"", key, FIRST_FORMAT)


def _compiled(wanted: ProjectFiles, instrumenter: Instrumenter | None) -> _Compiled:
    """Raises BadInputError."""
    if not (wanted.folder / MAIN).is_file():
        raise BadInputError(
            f"{wanted.folder} has no {MAIN}.", todo="Name the firmware's own folder."
        )
    covered = coverage.folder()
    table = instrumenter or (Table() if covered is not None else None)
    texts = {name: _text(path, table) for name, path in wanted.modules().items()}
    made = _Compiled()
    made.data = {name: path.read_bytes() for name, path in wanted.data().items()}
    for name, text in texts.items():
        content = table.finish(text) if table is not None else text
        if table is not None:
            made.lines[name] = table.lines.get((wanted.folder / name).resolve(), ())
        lines, native = made.lines.get(name, ()), bool(_NATIVE.search(text))
        bytecode = compile_text(content, name, readable=True, lines=lines, native=native)
        if name in _RUN_AS_SOURCE or native:
            made.files[name] = content.encode()  # compiled only to see whether it does
        else:
            made.files[name.removesuffix(".py") + ".mpy"] = bytecode
    made.files |= made.data
    if isinstance(table, Table) and covered is not None:
        table.write(covered)
    return made


def _text(path: Path, table: Instrumenter | None) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        return table.instrument(text, path.resolve()) if table is not None else text
    except SyntaxError as error:
        what = f"line {error.lineno}: SyntaxError: {error.msg}"
    except UnicodeDecodeError as error:
        what = str(error)
    raise BadInputError(
        f"{path} does not compile: {what}.",
        kept="No image was written.",
        todo="Mend the source and build again.",
    )


def _packed(files: dict[str, bytes], board: Board, what: str) -> bytes:
    return filesystem.pack(files, board, room=board.storage.size, what=what)


def with_files_of(image: Image, flash: bytes, before: Image | None = None) -> Image:
    """The image with what an earlier firmware wrote into its file system, which is in `flash`: all
    files but sources and bytecode. Where there is no file system, the image as it is.

    before: the image that was there. Data files that came with it, and are others now, or none,
    are taken from the new one.

    Raises BadInputError when both do not fit together.
    """
    if not image.writable:
        return image
    board = image.board
    room, at = board.storage.size, board.storage.address
    try:
        there = filesystem.unpack(flash[at : at + room], board, room=room)
    except BadInputError:
        return image
    old, new = (before.brought if before is not None else {}), image.brought
    renewed = {name for name in old if old[name] != new.get(name)}
    kept = {
        name: data
        for name, data in there.items()
        if not name.endswith(_OURS) and name not in renewed
    }
    files = filesystem.unpack(image.segments[0][1], board, room=room) | kept
    content = _packed(files, board, "The firmware with the files that it has written")
    return replace(image, segments=((at, content),))
