"""Which image runs, and what one for the other slot must be: updates.md. Each device has a line
and a person of its own to ask; what comes before a byte is stored is the same, and here.

The header comes first, with its signature: nothing is erased for an image that will not be taken.
What the device remembers lies elsewhere, and is not known here.
"""

import booted
from micropython import const

from lib import wire
from lib.slots import Record

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Slots
    from typed.kinds import Readable

_READS = const(9)  # oldest and newest format of the state, 4 bits each; 0: 1 and 1
_BOARD = const(48)  # where in the header, 16 bytes
_NOT_BELOW = const(10)  # security version, 2 bytes
_SIZE = const(12)  # of the file system, 4 bytes

# What `fault` finds.
LENGTH = const(1)
FOREIGN = const(2)  # not a header, or of another device or board
NOT_NOW = const(3)  # it cannot read the state, is below the floor, or another is on trial


def header(board: "Slots") -> bytearray:
    """Of the running image, 64 bytes."""
    found = bytearray(wire.IMAGE_HEADER)
    board.slot(booted.slot).read(0, found)
    return found


def running(board: "Slots") -> bytes:
    """Slot (1) ‖ state (1) ‖ floor (4) ‖ header of the running image (64)."""
    record = Record(board.boot_record())
    state = bytes((booted.slot, record.state if record.slot == booted.slot else wire.CONFIRMED))
    return state + _floor(board, record).to_bytes(4, "big") + header(board)


def _not_below(header: "Readable") -> int:
    return int.from_bytes(header[_NOT_BELOW : _NOT_BELOW + 2], "little")


def _floor(board: "Slots", record: Record) -> int:
    """No image below this security version: the one that came from the factory counts too."""
    found = header(board)
    own = _not_below(found) if found[:4] == wire.IMAGE_MAGIC else 0
    return max(record.floor, own if record.state == wire.CONFIRMED else 0)


def size(signed: "Readable") -> int:
    """Of the file system that a header speaks of, in bytes."""
    return int.from_bytes(signed[_SIZE : _SIZE + 4], "little")


def fault(board: "Slots", signed: bytes, device: int, state_format: int) -> int:
    """Why an image is not taken, 0 when it is, as far as its header tells. signed: header and
    signature, which is not looked at. device: as headers number them.
    """
    record = Record(board.boot_record())
    room = board.slot(0)
    name = board.NAME.encode()
    if len(signed) != wire.IMAGE_HEADER + wire.IMAGE_SIGNATURE:
        return LENGTH
    if (
        signed[:6] != wire.IMAGE_MAGIC + bytes((wire.IMAGE_FORMAT, device))
        or signed[_BOARD : _BOARD + 16] != name + bytes(16 - len(name))
        or not 0 < size(signed) <= (room.SECTORS - 1) * room.SECTOR
        or size(signed) % room.UNIT
    ):
        return FOREIGN
    reads = signed[_READS] or 0x11
    if not reads >> 4 <= state_format <= reads & 15:
        return NOT_NOW
    # An image on trial proves itself first: going back needs the other slot.
    if record.state == wire.TRIED or _not_below(signed) < _floor(board, record):
        return NOT_NOW
    return 0


def trusted(signed: bytes) -> bool:
    """Whether the signature is one of the key that this device trusts. Whoever asks has made room
    for the modules.
    """
    from lib.ed25519 import verify
    from lib.trust import PUBLIC_KEY, X
    from lib.unload import unload

    good = verify(PUBLIC_KEY, X, signed[: wire.IMAGE_HEADER], signed[wire.IMAGE_HEADER :])
    verify = None  # type: ignore[assignment]  # lets the module go
    unload("lib.ed25519", "lib.sha512", "lib.trust")
    return good


def on_trial(board: "Slots") -> bool:
    """The running image has yet to be confirmed."""
    record = Record(board.boot_record())
    return record.slot == booted.slot and record.state == wire.TRIED


def confirm(board: "Slots") -> bool:
    """The image on trial has proved itself: it stays. False when another one is to run. Raises
    OSError.
    """
    record = Record(board.boot_record())
    if record.slot != booted.slot:
        return False
    if record.state == wire.TRIED:
        floor = max(record.floor, _not_below(header(board)))
        record.write(wire.CONFIRMED, booted.slot, floor)
    return True
