"""Types of command-line options that are files, and where files lie that nobody named."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click


class _CheckedFile(click.Path):
    """Looked at when the command line is read. wrong: what is, in words, of a path and of what was
    typed for it."""

    def __init__(self, wrong: Callable[[Path, str], str], **how: Any) -> None:
        super().__init__(path_type=Path, dir_okay=False, **how)
        self._wrong = wrong

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        wrong = self._wrong(path, str(value))
        if wrong:
            self.fail(wrong, param, ctx)
        return path


def _no_input(path: Path, _typed: str) -> str:
    """What is no file is refused: a pipe that nobody writes to would be waited for, for ever."""
    return "" if path.is_file() else f"{path} is no file."


def _no_output(path: Path, typed: str) -> str:
    """Refused before any work is done when it could not be written at the end."""
    try:
        return _no_place(path, typed)
    except PermissionError:
        return f"{path.parent} may not be entered."


def _no_place(path: Path, typed: str) -> str:
    if path.is_dir():  # also of no name at all, which is the folder that one is in
        return f"{typed!r} is a folder."
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}."
    if sys.platform != "win32" and path.is_fifo() and not _is_read(path):
        return f"{path} is a pipe that nobody reads."
    return ""


if sys.platform != "win32":

    def _is_read(pipe: Path) -> bool:
        """Held open until this process ends: who reads it would otherwise see its end now."""
        try:
            _HELD.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as error:
            return error.errno != errno.ENXIO
        return True


_HELD: list[int] = []


def cache_folder() -> Path:
    """Where files are kept that can be made again (XDG base directories).

    Some users have no home that they may write to, in containers of CI for example: they get a
    folder of this process, which goes with it.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "tallystick"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return _of_this_process()
    return folder if os.access(folder, os.W_OK) else _of_this_process()


@cache
def _of_this_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tally-"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not a process that was forked
        shutil.rmtree(folder, ignore_errors=True)


INPUT_FILE = _CheckedFile(_no_input, exists=True)
OUTPUT_FILE = _CheckedFile(_no_output, writable=True)
