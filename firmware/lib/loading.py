"""An image on its way into the slot that does not run, once `lib.update` found its header good."""

from hashlib import sha256

import booted
from micropython import const

from lib import update, wire
from lib.slots import Record

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Slots

_DIGEST = const(16)  # where in the header: SHA-256 of the file system


class Loading:
    """`next`: offset in the file system. `signed`: header and signature."""

    def __init__(self, board: "Slots", signed: bytes) -> None:
        """Raises OSError."""
        # Solid, before anything is erased: a record of an earlier update may have been cut.
        record = Record(board.boot_record())
        record.write(wire.CONFIRMED, booted.slot, record.floor)
        self.signed = signed
        self.next = 0
        self._board = board
        self._slot = 1 - booted.slot
        self._size = update.size(signed)
        self._flash = board.slot(self._slot)
        self._erased = 0  # sectors, the header's counted

    def _erase_to(self, end: int) -> None:
        sector = self._flash.SECTOR
        while self._erased * sector < sector + end:
            self._flash.erase(self._erased)
            self._erased += 1

    def take(self, offset: int, data: memoryview) -> bool:
        """A part of the file system, in rising order; blank ones may be left out. False when it is
        out of place. Raises OSError.
        """
        unit = self._flash.UNIT
        end = offset + len(data)
        if offset < self.next or offset % unit or len(data) % unit or end > self._size:
            return False
        self._erase_to(end)
        self._flash.program(self._flash.SECTOR + offset, data)
        self.next = end
        return True

    def switch(self) -> bool:
        """The image runs from the next start, on trial. False when flash does not hold what was
        signed. Raises OSError.
        """
        if not self._whole():
            return False
        flash = self._flash
        flash.program(0, self.signed + b"\xff" * (-len(self.signed) % flash.UNIT))
        record = Record(self._board.boot_record())
        record.write(wire.TRIAL, self._slot, record.floor)
        return True

    def _whole(self) -> bool:
        self._erase_to(self._size)
        digest = sha256()
        piece = memoryview(bytearray(512))
        for at in range(0, self._size, 512):
            part = piece[: min(512, self._size - at)]
            self._flash.read(self._flash.SECTOR + at, part)
            digest.update(part)
        return digest.digest() == self.signed[_DIGEST : _DIGEST + 32]
