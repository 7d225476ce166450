"""A new image for the slot that does not run: docs/updates.md.

The header comes first, with its signature: nothing is erased for an image that will not be taken.
Seed, keys and moving factor are in the journal, which this module does not know.
"""

import board
import booted
from micropython import const

from lib import wire
from lib.apdu import Refused
from lib.slots import Record

_BOARD = const(48)  # where in the header, 16 bytes
_NOT_BELOW = const(10)  # security version, 2 bytes
_SIZE = const(12)  # of the file system, 4 bytes
_DIGEST = const(16)  # SHA-256 of the file system

_loading = None  # stays when a line fails: the station goes on where it was


def process(card, command) -> bytes:
    """INSTALL and LOAD; the answer without its status word. Raises Refused."""
    card.need_firm_keys()
    if command.p2:
        raise Refused(wire.SW_P1P2)
    if command.ins == wire.INS_LOAD:
        return _load(command.data)
    if command.p1 == wire.INSTALL_LOAD:
        return _begin(card, bytes(command.data))
    if command.p1 == wire.INSTALL_SWITCH:
        return _switch(card)
    if command.p1 == wire.INSTALL_CONFIRM:
        return _confirm()
    raise Refused(wire.SW_P1P2)


def running() -> bytes:
    """Slot (1) ‖ state (1) ‖ floor (4) ‖ header of the running image (64)."""
    record = Record(board.boot_record())
    state = bytes((booted.slot, record.state if record.slot == booted.slot else wire.CONFIRMED))
    return state + _floor(record).to_bytes(4, "big") + _header(booted.slot)


def _header(slot):
    header = bytearray(wire.IMAGE_HEADER)
    board.slot(slot).read(0, header)
    return header


def _not_below(header):
    return int.from_bytes(header[_NOT_BELOW : _NOT_BELOW + 2], "little")


def _floor(record):
    """No image below this security version: the one that came from the factory counts too."""
    header = _header(booted.slot)
    own = _not_below(header) if header[:4] == wire.IMAGE_MAGIC else 0
    return max(record.floor, own if record.state == wire.CONFIRMED else 0)


class _Loading:
    """An image on its way into `flash`. `next`: offset in the file system."""

    def __init__(self, signed, slot):
        self.signed = signed
        self.slot = slot
        self.flash = board.slot(slot)
        self.size = int.from_bytes(signed[_SIZE : _SIZE + 4], "little")
        self.next = 0
        self._erased = 0  # sectors, the header's counted

    def erase_to(self, end):
        sector = self.flash.SECTOR
        while self._erased * sector < sector + end:
            self.flash.erase(self._erased)
            self._erased += 1

    def take(self, offset, data):
        unit = self.flash.UNIT
        end = offset + len(data)
        if offset < self.next or offset % unit or len(data) % unit or end > self.size:
            raise Refused(wire.SW_DATA)
        self.erase_to(end)
        self.flash.program(self.flash.SECTOR + offset, data)
        self.next = end

    def whole(self):
        """Whether flash now holds what was signed."""
        from hashlib import sha256

        self.erase_to(self.size)
        digest = sha256()
        piece = memoryview(bytearray(512))
        for at in range(0, self.size, 512):
            part = piece[: min(512, self.size - at)]
            self.flash.read(self.flash.SECTOR + at, part)
            digest.update(part)
        return digest.digest() == self.signed[_DIGEST : _DIGEST + 32]

    def finish(self):
        unit = self.flash.UNIT
        header = self.signed + b"\xff" * (-len(self.signed) % unit)
        self.flash.program(0, header)


def _begin(card, signed):
    """Check the header and its signature; answers where to go on, 4 bytes."""
    global _loading
    if _loading and _loading.signed == signed:
        return _loading.next.to_bytes(4, "big")
    _loading = None
    record = Record(board.boot_record())
    _check(signed, record)
    card.need_consent()
    if not _signed(card, signed):
        raise Refused(wire.SW_NOT_AUTHENTICATED)
    # Solid, before anything is erased: a record of an earlier update may have been cut.
    record.write(wire.CONFIRMED, booted.slot, record.floor)
    _loading = _Loading(signed, 1 - booted.slot)
    return bytes(4)


def _check(signed, record):
    size = int.from_bytes(signed[_SIZE : _SIZE + 4], "little")
    room = board.slot(0)
    name = board.NAME.encode()
    if len(signed) != wire.IMAGE_HEADER + wire.IMAGE_SIGNATURE:
        raise Refused(wire.SW_LENGTH)
    if (
        signed[:6] != wire.IMAGE_MAGIC + bytes((wire.IMAGE_FORMAT, wire.IMAGE_CARD))
        or signed[_BOARD : _BOARD + 16] != name + bytes(16 - len(name))
        or not 0 < size <= (room.SECTORS - 1) * room.SECTOR
        or size % room.UNIT
    ):
        raise Refused(wire.SW_DATA)
    # An image on trial proves itself first: going back needs the other slot.
    if record.state == wire.TRIED or _not_below(signed) < _floor(record):
        raise Refused(wire.SW_CONDITIONS)


def _signed(card, signed):
    """Whether the signature is one of the key that this card trusts."""
    from lib.unload import unload

    card.terminal.extend()
    unload("card.oath", "card.screens", "card.digits", "lib.hotp", "lib.memory_lcd", "lib.ssd1306")
    from card.trust import PUBLIC_KEY, X
    from lib.ed25519 import verify

    good = verify(PUBLIC_KEY, X, signed[: wire.IMAGE_HEADER], signed[wire.IMAGE_HEADER :])
    verify = None
    unload("lib.ed25519", "lib.sha512", "card.trust")
    return good


def _load(data):
    if not _loading:
        raise Refused(wire.SW_CONDITIONS)
    if not 4 < len(data) <= 4 + wire.LOAD_MAX:
        raise Refused(wire.SW_LENGTH)
    _loading.take(int.from_bytes(data[:4], "big"), data[4:])
    return b""


def _switch(card):
    """The image is whole: it runs from the next start, which comes at once, on trial."""
    global _loading
    loading = _loading
    if not loading:
        raise Refused(wire.SW_CONDITIONS)
    card.need_power()
    _loading = None
    card.terminal.extend()
    if not loading.whole():
        raise Refused(wire.SW_DATA)
    loading.finish()
    record = Record(board.boot_record())
    record.write(wire.TRIAL, loading.slot, record.floor)
    card.terminal.restart()
    return b""


def _confirm():
    """The image on trial has served an authenticated command: it stays."""
    record = Record(board.boot_record())
    if record.slot != booted.slot:
        raise Refused(wire.SW_CONDITIONS)
    if record.state == wire.TRIED:
        floor = max(record.floor, _not_below(_header(booted.slot)))
        record.write(wire.CONFIRMED, booted.slot, floor)
    return b""
