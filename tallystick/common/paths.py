"""Types of command-line options that are files, and where files lie that nobody named."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import click


class _InputFile(click.Path):
    """What is no file is refused: a pipe that nobody writes to would be waited for, for ever."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.is_file():
            self.fail(f"{path} is no file.", param, ctx)
        return path


class _OutputFile(click.Path):
    """Refused before any work is done when it could not be written at the end."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.is_dir():  # also of no name at all, which is the folder that one is in
            self.fail(f"{str(value)!r} is a folder.", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {path.parent}.", param, ctx)
        if sys.platform != "win32" and path.is_fifo() and not _is_read(path):
            self.fail(f"{path} is a pipe that nobody reads.", param, ctx)
        return path


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


INPUT_FILE = _InputFile(path_type=Path, dir_okay=False, exists=True)
OUTPUT_FILE = _OutputFile(path_type=Path, dir_okay=False, writable=True)
