"""`uctypes` of the board: an address is the chip's. Its flash can be looked at. What else is there
is not emulated: it would be memory of this process, as what `addressof` says is.
"""

import flash
import link
from uctypes import *  # noqa: F403
from uctypes import bytearray_at as _bytearray_at
from uctypes import sizeof as _sizeof
from uctypes import struct as _struct

__name__ = "uctypes"
base = size = 0  # set by boot.py: of the flash, as the chip sees it
_copies = []


def bytearray_at(address, n):
    if address >> 32 > 0:
        return _bytearray_at(address, n)
    link.catch_up()
    offset = _offset(address, n)
    if offset <= flash.watch_from < offset + n:
        flash.looked_at(flash.watch_from)
    flash.looked_at(offset)
    if flash.memory is not None:
        return _bytearray_at(flash.address + offset, n)
    if n > 4096:  # a ROMFS image: a copy has to do, of what is used
        n = _romfs_size(offset)
    buf = bytearray(n)
    if n > 4096:
        _copies.append(buf)  # code in it is executed where it lies
    flash.read_into(offset, buf)
    return buf


def bytes_at(address, n):
    return bytes(bytearray_at(address, n))


def struct(address, descriptor, *layout):
    if address >> 32 <= 0:
        place = bytearray_at(address, _sizeof(descriptor, *layout))
        if flash.memory is None:  # else it is no copy
            _copies.append(place)
        address = addressof(place)  # noqa: F405
    return _struct(address, descriptor, *layout)


def _offset(address, n):
    offset = address - base
    if offset < 0 or offset + n > size:
        raise NotImplementedError(
            "not emulated: memory at 0x%08x (docs/guides/emulator.md)" % (address & 0xFFFFFFFF)
        )
    return offset


def _romfs_size(address):
    head = bytearray(8)
    flash.read_into(address, head)
    size = 0
    for n in range(3, 8):
        size = size << 7 | head[n] & 127
        if head[n] < 128:
            return size + n + 1 if head[0] == 0xD2 else 8
    return 8
