"""What the operating system does for a process that holds secrets: no core dump, no other process
of the same user that reads its memory, no secret in swap. And for one that works for another: it
ends with it."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # prctl(2)
_MADV_DONTDUMP = 16  # madvise(2)


@cache
def _libc() -> Any | None:
    """None where there is no prctl: then only what Python itself offers is done."""
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def shut_in() -> None:
    """From here on no core dump is written, and another process of the same user can neither trace
    this one nor read its memory. The administrator still can.

    A limit that the system does not take is no error: what else is done stays.
    """
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  (not on Windows)

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with_parent() -> None:
    """This process is killed when the one that started it ends, in whatever way. For the workers of
    a pool, which wait for work that nobody sends any more."""
    from multiprocessing import parent_process  # noqa: PLC0415  (memory that no server needs)

    libc, parent = _libc(), parent_process()
    if sys.platform == "win32" or libc is None or parent is None:
        return
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent.pid:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def told_to_end() -> Iterator[None]:
    """SIGTERM is what Ctrl-C is: KeyboardInterrupt, so that what was begun is ended as well."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def keep_in_memory(buffer: bytearray) -> bool:
    """Lock the pages of a buffer (they are not written to swap) and leave them out of dumps. The
    buffer must not change its size. → False: the system did not (RLIMIT_MEMLOCK, not Linux)."""
    libc = _libc()
    if libc is None or not buffer:
        return False
    start = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
    first = start - start % mmap.PAGESIZE
    size = ctypes.c_size_t(start + len(buffer) - first)
    libc.madvise(ctypes.c_void_p(first), size, _MADV_DONTDUMP)
    return bool(libc.mlock(ctypes.c_void_p(first), size) == 0)
