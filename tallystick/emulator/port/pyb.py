"""`pyb` of the STM32 boards: block device over the storage area of the internal flash, read
only.
"""

import flash
import link

base = 0
size = 0

_BLOCK = 512


class Flash:
    def __init__(self, start=0, len=-1):  # noqa: A002
        self._base = base + start
        self._size = size - start if len < 0 else len

    def readblocks(self, block, buf, offset=0):
        address = self._base + block * _BLOCK + offset
        if flash.memory is None or flash.watch_to:
            flash.read_blocks(address, buf)
            return
        # The same, written out: a start makes a thousand of these calls.
        n = len(buf)
        us = flash.us_per_256 * n >> 8
        link.cpu_us += us
        link._since_us += us
        buf[:] = flash.memory[address : address + n]

    def writeblocks(self, block, buf, offset=0):
        return 30  # EROFS: the emulated storage area holds the image only

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // _BLOCK
        if op == 5:
            return _BLOCK
        return 0
