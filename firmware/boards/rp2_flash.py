"""The flash of the RP2 boards behind MicroPython's block device: slots, boot record, and sectors
that no file system reaches. The boot stage's file system takes the first 20 blocks.
"""

import rp2
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from vfs import VfsLfs2

    from typed.board import Flash
    from typed.kinds import Readable, Writable

_SECTOR = const(4096)
_SLOT_A = const(20)
_SLOT_B = const(170)
_SLOT_BLOCKS = const(150)
_RECORD_BLOCK = const(333)

storage = rp2.Flash()


class Sectors:
    """Sectors of the storage area that no file system reaches: nothing but their owner writes
    there.
    """

    SECTOR = 4096
    UNIT = 256

    def __init__(self, first: int, count: int) -> None:
        self.SECTORS = count
        self._first = first

    def read(self, address: int, buf: "Writable") -> None:
        storage.readblocks(self._first + address // _SECTOR, buf, address % _SECTOR)

    def program(self, address: int, buf: "Readable") -> None:
        storage.writeblocks(self._first + address // _SECTOR, buf, address % _SECTOR)

    def erase(self, sector: int) -> None:
        storage.ioctl(6, self._first + sector)


def boot_record() -> "Flash":
    """Where the boot record is kept: lib/slots.py."""
    return Sectors(_RECORD_BLOCK, 2)


def slot(n: int) -> "Flash":
    """A slot as sectors, to be written: the header's first, then the file system's."""
    return Sectors(_SLOT_B if n else _SLOT_A, _SLOT_BLOCKS)


def slot_system(n: int) -> "VfsLfs2":
    """The file system of a slot, to be mounted. Raises OSError when there is none.

    Its caches, and that of every open file, are four times `readsize`: 256 bytes, as the image was
    made with. MicroPython's usual 1 KiB each would be the heap that an update lacks.
    """
    from vfs import VfsLfs2

    first = _SLOT_B if n else _SLOT_A
    device = rp2.Flash(start=(first + 1) * _SECTOR, len=(_SLOT_BLOCKS - 1) * _SECTOR)
    return VfsLfs2(device, readsize=64, progsize=64, lookahead=16)  # type: ignore[abstract]  # only in the stubs
