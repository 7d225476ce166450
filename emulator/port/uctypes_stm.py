"""`uctypes` of the STM32 boards, as far as firmware uses it: a view of memory-mapped flash."""

import flash
import link
from uctypes import bytearray_at as _bytearray_at  # the real one

FLASH_BASE = 0x08000000
_copies = []


def bytearray_at(address, n):
    link.catch_up()
    address -= FLASH_BASE
    if address <= flash.watch_from < address + n:
        flash.looked_at(flash.watch_from)
    flash.looked_at(address)
    if flash.memory is not None:
        return _bytearray_at(flash.address + address, n)
    if n > 4096:  # a ROMFS image: a copy has to do, of what is used
        n = _romfs_size(address)
    buf = bytearray(n)
    if n > 4096:
        _copies.append(buf)  # code in it is executed where it lies
    flash.read_into(address, buf)
    return buf


def _romfs_size(address):
    head = bytearray(8)
    flash.read_into(address, head)
    size = 0
    for n in range(3, 8):
        size = size << 7 | head[n] & 127
        if head[n] < 128:
            return size + n + 1 if head[0] == 0xD2 else 8
    return 8


bytes_at = bytearray_at
