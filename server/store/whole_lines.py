"""Lines at the end of a file that several processes write, and whose disk may be full."""

from __future__ import annotations

import errno
import os
import stat


def append(descriptor: int, line: bytes) -> None:
    """Write a line and its end at once. On a full disk a part of it may go in: that raises OSError
    like none of it, so that it comes again. descriptor: opened to be read as well, O_APPEND."""
    data = line if _ends_whole(descriptor) else b"\n" + line
    if os.write(descriptor, data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def end_the_last(descriptor: int) -> None:
    """What comes next begins a line of its own, also after half of one. Raises OSError."""
    if not _ends_whole(descriptor):
        os.write(descriptor, b"\n")


def _ends_whole(descriptor: int) -> bool:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode) or not about.st_size:
        return True
    return os.pread(descriptor, 1, about.st_size - 1) == b"\n"
