"""`rp2` of the Raspberry Pi boards: block device over the storage area of the flash."""

import flash
import link

# Set by boot.py: where the storage area starts in flash, and its size, in bytes.
base = 0
size = 0

_BLOCK = 4096


def __getattr__(name):
    return link.late("rp2", name)


class Flash:
    def __init__(self, *, start=0, len=-1):  # noqa: A002
        if len < 0:
            len = size - start  # noqa: A001
        if start < 0 or len <= 0 or start + len > size or start % _BLOCK or len % _BLOCK:
            raise ValueError
        self._base = base + start
        self._size = len

    def __repr__(self):
        return "<Flash>"

    def readblocks(self, block, buf, offset=0):
        chip = flash
        address = self._base + block * _BLOCK + offset
        if chip.memory is None or chip.watch_to:
            chip.read_blocks(address, buf)
            return
        # The same, written out: a start makes a thousand of these calls.
        n = len(buf)
        link.charged += chip.us_per_256 * n >> 8
        buf[:] = chip.memory[address : address + n]

    def writeblocks(self, block, buf, offset=None):
        address = self._base + block * _BLOCK
        if offset is None:
            flash.erase(address, len(buf))
            offset = 0
        if (address + offset) & 255 or len(buf) & 255:
            raise ValueError("RP2 flash is programmed in whole aligned pages of 256 bytes")
        flash.program(address + offset, buf)

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // _BLOCK
        if op == 5:
            return _BLOCK
        if op == 6:
            flash.erase(self._base + arg * _BLOCK, _BLOCK)
        return 0 if op < 7 else None
