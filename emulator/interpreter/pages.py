"""Where MicroPython's heap lies: above all that a chip has.

The port tells an address of this process from one of the chip by its size: the chip's are below
4 GiB. The heap of a Python that is not position-independent (Debian's is not) lies there as well,
and what MicroPython asks of `malloc` would come of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # mallopt(3)
_PADDING = 128 << 10  # bytes that Python's heap grows by beyond what is asked for, usually
_LARGE = 64 << 10  # bytes: less than any chip's heap
_USUAL = 32 << 20  # where glibc gets by itself, in a process that has given large memory back


@contextmanager
def pages_of_its_own(c: ctypes.CDLL, size: int) -> Iterator[None]:
    """What asks for so many bytes in this block gets pages that it shares with nothing. c: the C
    library, which is glibc."""
    malloc, free = c.malloc, c.free
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    c.mallopt(_M_MMAP_THRESHOLD, _LARGE)
    c.mallopt(_M_TOP_PAD, 0)  # else it might grow to where so many fit
    # What is free, and would do, is given first: it is held meanwhile.
    held = []
    while (place := malloc(size)) is not None and place >> 32 == 0:
        held.append(place)
    free(place)
    try:
        yield
    finally:
        for place in held:
            free(place)
        c.mallopt(_M_MMAP_THRESHOLD, _USUAL)
        c.mallopt(_M_TRIM_THRESHOLD, 2 * _USUAL)
        c.mallopt(_M_TOP_PAD, _PADDING)
