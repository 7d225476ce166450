"""What POSIX systems and Windows do in different ways: the one place where the station asks which
it runs on."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Windows has no such call: it writes them with the
    file."""
    if sys.platform == "win32":
        return
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def wait_for_lock(descriptor: int) -> None:
    """Until no other process holds the lock of an open file; it ends with the descriptor. Raises
    OSError."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
    else:
        import fcntl  # noqa: PLC0415

        fcntl.flock(descriptor, fcntl.LOCK_EX)


class PortReader:
    """Reads what has come from an open pyserial port, as much at once as there is."""

    def __init__(self, port: Any) -> None:
        self._port = port
        if sys.platform != "win32":
            # pyserial's own read costs two system calls a byte count; poll + read two a block.
            self._descriptor: int = port.fileno()
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)

    def read(self, timeout_s: float) -> bytes | None:
        """None when nothing came in time; b"" when the port is gone. Raises OSError."""
        if sys.platform == "win32":
            self._port.timeout = timeout_s
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else None
        try:
            if not self._poll.poll(timeout_s * 1000):
                return None
            return os.read(self._descriptor, 4096)
        except BlockingIOError:
            return None
