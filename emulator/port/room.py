"""Leaves the firmware the heap that a board leaves it, and the pools of names that it makes there.

The port's modules live in the same heap: what they leave beyond the board's is taken away.

MicroPython keeps the names that it meets in pools, each with twice the room of the one before. A
board's modules have their names in ROM, so that its firmware begins with a pool of 20; the port's
modules, which stand for them, have filled several by then. Their last one is made to look like the
ROM's.
"""

import gc
import struct

from micropython import const
from uctypes import addressof, bytearray_at

# A pool, MicroPython's py/qstr.h: the one before, names before, room, names in it, and where their
# hashes and lengths lie: behind the names themselves.
_POOL = "<6Q"
_POOL_SIZE = const(48)
_ROOM_AT = const(16)
_BLOCK = const(32)  # of the heap
_OF_ROM = const(10)  # the next pool has twice the room

_taken = []


def leave(heap):
    """To the firmware, so many bytes. Raises MemoryError where the port has taken too much."""
    gc.collect()
    _taken.append(bytearray(gc.mem_free() - heap))
    _close_names(*[addressof(one) for one in _taken])


def _close_names(begin, end):
    heap = bytearray_at(begin, end - begin)
    last, most = -1, -1
    for at in range(0, end - begin - _POOL_SIZE, _BLOCK):
        _, before, room, _, hashes, _ = struct.unpack_from(_POOL, heap, at)
        if hashes == begin + at + _POOL_SIZE + 8 * room and before > most:
            last, most = at, before
    if last >= 0:
        struct.pack_into("<Q", heap, last + _ROOM_AT, _OF_ROM)


gc.collect()
_taken.append(bytearray(_BLOCK))  # where the heap is free first: what comes later lies behind
