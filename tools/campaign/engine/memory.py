"""Folders of campaigns, in memory: no commit waits for a disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PLACE = Path("/dev/shm")  # noqa: S108  (a folder of its own is made in it)
PREFIX = "tally-campaign-"
ROOM = 32 << 20  # bytes: what a large firm's server takes; a container often has 64 MiB in all
YOUNG_S = 60.0  # is perhaps made just now, and not held yet


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A new folder, gone at the end; on a disk where there is no place in memory.

    A killed campaign leaves its folders, and a machine's memory is full of them some day. Each is
    held by a lock, which ends with its process: what nobody holds is removed by the next one.
    """
    place = PLACE if _has_room(PLACE) else None
    with TemporaryDirectory(prefix=PREFIX, dir=place) as name:
        folder = Path(name)
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            now = folder.stat().st_mtime
            for other in folder.parent.glob(f"{PREFIX}*"):
                _remove_if_left(other, now)
            yield folder
        finally:
            os.close(held)


def _has_room(place: Path) -> bool:
    return os.access(place, os.W_OK | os.X_OK) and shutil.disk_usage(place).free >= ROOM


def _remove_if_left(folder: Path, now: float) -> None:
    with suppress(OSError):  # somebody else's, held, or just removed
        if now - folder.stat().st_mtime < YOUNG_S:
            return
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)
