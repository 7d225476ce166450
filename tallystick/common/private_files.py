"""Files that nobody but their owner may read."""

from __future__ import annotations

import sys
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret


def others_may_read(path: Path) -> bool:
    """Whether other users of this computer may read a file, by its mode. On Windows the folder of
    the user keeps them out, and files have no such mode."""
    return sys.platform != "win32" and bool(path.stat().st_mode & 0o077)


def secret_in(file: Path, what: str = "secret") -> Secret:
    """A secret that stands alone in a file (UTF-8; white space around it is not part of it). what:
    its name in what is said. Raises BadInputError where the file cannot be read, others may read
    it, or there is nothing in it."""
    try:
        if others_may_read(file):
            raise BadInputError(
                f"{file} can be read by others than its owner, and holds a {what}.",
                todo=f"chmod 600 {file}",
            )
        text = file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{file} cannot be read ({type(error).__name__}).",
            todo=f"Write the {what} into it, and nothing else.",
        ) from None
    if not text:
        raise BadInputError(f"{file} is empty.", todo=f"Write the {what} into it.")
    return Secret(text.encode())
