"""An image on its way into the slot that does not run, once `card.update` found its header good."""

from hashlib import sha256

import board
import booted
from micropython import const

from lib import wire
from lib.apdu import Refused
from lib.slots import Record

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from card.applets import Applets
    from lib.apdu import Command

_DIGEST = const(16)  # where in the header: SHA-256 of the file system

current: "_Loading | None" = None  # stays when a line fails: the station goes on where it was


def begin(signed: bytes, size: int) -> None:
    """Take what the header speaks of, `size` bytes of file system. Raises OSError."""
    global current
    # Solid, before anything is erased: a record of an earlier update may have been cut.
    record = Record(board.boot_record())
    record.write(wire.CONFIRMED, booted.slot, record.floor)
    current = _Loading(signed, size, 1 - booted.slot)


def process(card: "Applets", command: "Command") -> bytes:
    """LOAD, and INSTALL to switch. Raises Refused, OSError."""
    if command.ins == wire.INS_LOAD:
        return _load(command.data)
    if command.p1 == wire.INSTALL_SWITCH:
        return _switch(card)
    raise Refused(wire.SW_P1P2)


class _Loading:
    """`next`: offset in the file system."""

    def __init__(self, signed: bytes, size: int, slot: int) -> None:
        self.signed = signed
        self.slot = slot
        self.size = size
        self.next = 0
        self._flash = board.slot(slot)
        self._erased = 0  # sectors, the header's counted

    def _erase_to(self, end: int) -> None:
        sector = self._flash.SECTOR
        while self._erased * sector < sector + end:
            self._flash.erase(self._erased)
            self._erased += 1

    def take(self, offset: int, data: memoryview) -> None:
        unit = self._flash.UNIT
        end = offset + len(data)
        if offset < self.next or offset % unit or len(data) % unit or end > self.size:
            raise Refused(wire.SW_DATA)
        self._erase_to(end)
        self._flash.program(self._flash.SECTOR + offset, data)
        self.next = end

    def whole(self) -> bool:
        """Whether flash now holds what was signed."""
        self._erase_to(self.size)
        digest = sha256()
        piece = memoryview(bytearray(512))
        for at in range(0, self.size, 512):
            part = piece[: min(512, self.size - at)]
            self._flash.read(self._flash.SECTOR + at, part)
            digest.update(part)
        return digest.digest() == self.signed[_DIGEST : _DIGEST + 32]

    def finish(self) -> None:
        self._flash.program(0, self.signed + b"\xff" * (-len(self.signed) % self._flash.UNIT))


def _load(data: memoryview) -> bytes:
    if not current:
        raise Refused(wire.SW_CONDITIONS)
    if not 4 < len(data) <= 4 + wire.LOAD_MAX:
        raise Refused(wire.SW_LENGTH)
    current.take(int.from_bytes(data[:4], "big"), data[4:])
    return b""


def _switch(card: "Applets") -> bytes:
    """The image is whole: it runs from the next start, which comes at once, on trial."""
    global current
    loading = current
    if not loading:
        raise Refused(wire.SW_CONDITIONS)
    card.need_power()
    current = None
    card.terminal.extend()
    if not loading.whole():
        raise Refused(wire.SW_DATA)
    loading.finish()
    record = Record(board.boot_record())
    record.write(wire.TRIAL, loading.slot, record.floor)
    card.terminal.restart()
    return b""
