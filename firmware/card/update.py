"""A new image for the slot that does not run: updates.md. Here is what comes before a byte of
it is stored, `card.loading` has the rest.

The header comes first, with its signature: nothing is erased for an image that will not be taken.
Seed, keys and moving factor are in the journal, which neither module knows.
"""

import sys

import board
import booted
from micropython import const

from lib import wire
from lib.apdu import Refused
from lib.slots import Record

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from card.applets import Applets
    from card.store import Store
    from lib.apdu import Command
    from typed.kinds import Readable

_READS = const(9)  # oldest and newest format of the state, 4 bits each; 0: 1 and 1
_BOARD = const(48)  # where in the header, 16 bytes
_NOT_BELOW = const(10)  # security version, 2 bytes
_SIZE = const(12)  # of the file system, 4 bytes


def process(card: "Applets", command: "Command") -> bytes:
    """INSTALL and LOAD; the answer without its status word. Raises Refused."""
    card.need_firm_keys()
    if command.p2:
        raise Refused(wire.SW_P1P2)
    if command.ins == wire.INS_INSTALL:
        if command.p1 == wire.INSTALL_LOAD:
            return _begin(card, bytes(command.data))
        if command.p1 == wire.INSTALL_CONFIRM:
            return _confirm(card)
    from card import loading

    return loading.process(card, command)


def running() -> bytes:
    """Slot (1) ‖ state (1) ‖ floor (4) ‖ header of the running image (64)."""
    record = Record(board.boot_record())
    state = bytes((booted.slot, record.state if record.slot == booted.slot else wire.CONFIRMED))
    return state + _floor(record).to_bytes(4, "big") + _header()


def _header() -> bytearray:
    header = bytearray(wire.IMAGE_HEADER)
    board.slot(booted.slot).read(0, header)
    return header


def _not_below(header: "Readable") -> int:
    return int.from_bytes(header[_NOT_BELOW : _NOT_BELOW + 2], "little")


def _floor(record: Record) -> int:
    """No image below this security version: the one that came from the factory counts too."""
    header = _header()
    own = _not_below(header) if header[:4] == wire.IMAGE_MAGIC else 0
    return max(record.floor, own if record.state == wire.CONFIRMED else 0)


def _begin(card: "Applets", signed: bytes) -> bytes:
    """Check the header and its signature; answers where to go on, 4 bytes."""
    if "card.loading" in sys.modules:
        from card import loading

        if loading.current and loading.current.signed == signed:
            return loading.current.next.to_bytes(4, "big")
        loading.current = None
    _check(card, signed, Record(board.boot_record()))
    card.need_consent("for new firmware")
    if not _signed(card, signed):
        raise Refused(wire.SW_NOT_AUTHENTICATED)
    from card import loading

    loading.begin(signed, int.from_bytes(signed[_SIZE : _SIZE + 4], "little"))
    return bytes(4)


def _check(card: "Applets", signed: bytes, record: Record) -> None:
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
    reads = signed[_READS] or 0x11
    # An image on trial proves itself first: going back needs the other slot.
    if not reads >> 4 <= card.store.format <= reads & 15:
        raise Refused(wire.SW_CONDITIONS)
    if record.state == wire.TRIED or _not_below(signed) < _floor(record):
        raise Refused(wire.SW_CONDITIONS)


def _signed(card: "Applets", signed: bytes) -> bool:
    """Whether the signature is one of the key that this card trusts."""
    from lib.unload import unload

    card.terminal.extend()
    unload("card.issuer", "card.oath", "card.screens", "card.digits", "lib.hotp", "lib.memory_lcd")
    unload("card.loading", "card.selftest", "card.version", "lib.tlv", "lib.hmac", "lib.ssd1306")
    from card.trust import PUBLIC_KEY, X
    from lib.ed25519 import verify

    good = verify(PUBLIC_KEY, X, signed[: wire.IMAGE_HEADER], signed[wire.IMAGE_HEADER :])
    verify = None  # type: ignore[assignment]  # lets the module go
    unload("lib.ed25519", "lib.sha512", "card.trust")
    return good


def _confirm(card: "Applets") -> bytes:
    """The image on trial has served an authenticated command: it stays, and may write what the one
    before cannot read.
    """
    record = Record(board.boot_record())
    if record.slot != booted.slot:
        raise Refused(wire.SW_CONDITIONS)
    if record.state == wire.TRIED:
        floor = max(record.floor, _not_below(_header()))
        record.write(wire.CONFIRMED, booted.slot, floor)
    migrate(card.store)
    return b""


def migrate(store: "Store") -> None:
    """Once nothing leads back to another image. Raises OSError."""
    record = Record(board.boot_record())
    if record.state == wire.CONFIRMED and record.slot == booted.slot:
        store.migrate()
