"""Whether the files that SQLite has open are still those that have its names.

A file that was removed or replaced under a running server goes on to take what is written into it,
and nobody ever sees it again: neither the next start nor any copy. SQLite notices nothing of that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class NotInPlaceError(Exception):
    """Somebody has removed or replaced a file of the database since it was opened."""


FileIdentity = tuple[int, int]


def identity(path: str) -> FileIdentity | None:
    """Which file has this name: device and number. None: no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - before and after every transaction
    except OSError:
        return None
    return found.st_dev, found.st_ino


@dataclass(frozen=True)
class FilesInPlace:
    """The files of one connection: they keep their names for as long as it is open, for only
    whoever closes the last one takes the log and its index away."""

    files: tuple[tuple[str, FileIdentity], ...]

    @classmethod
    def of(cls, database: str, main: FileIdentity | None) -> FilesInPlace:
        """Of a connection that has just read something. main: which file the database was first."""
        beside = str(Path(database).resolve())  # the log is where the file is, not a link to it
        names = (f"{beside}-wal", f"{beside}-shm")
        found = [(database, main), *((name, identity(name)) for name in names)]
        return cls(tuple((name, one) for name, one in found if one is not None))

    def must_hold(self) -> None:
        """Raises NotInPlaceError."""
        for name, one in self.files:
            if identity(name) != one:
                raise NotInPlaceError
