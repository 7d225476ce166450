"""An image of any firmware: a folder with `main.py` and the modules that it imports."""

from __future__ import annotations

from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import find
from tallystick.emulator.devices.image import Image
from tallystick.tools.image import filesystem
from tallystick.tools.image.compile import compile_text

_RUN_AS_SOURCE = ("boot.py", "main.py")


def from_folder(folder: Path, board_name: str) -> Image:
    """Compiles every module under `folder` and packs one file system at the start of the storage.

    Raises BadInputError without a main.py, for source that does not compile, or without room.
    """
    board = find(board_name)
    if not (folder / "main.py").is_file():
        raise BadInputError(f"{folder} has no main.py.", todo="Name the firmware's own folder.")
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        if name in _RUN_AS_SOURCE:
            files[name] = path.read_bytes()
        else:
            files[name.removesuffix(".py") + ".mpy"] = compile_text(
                path.read_text(encoding="utf-8"), name, readable=True
            )
    content = filesystem.pack(
        files, board, room=board.storage.size, what=f"The firmware in {folder}"
    )
    writable = board.image_format == "littlefs"  # as by the port's own MicroPython
    return Image(board, ((board.storage.address, content),), writable=writable, prints=True)
