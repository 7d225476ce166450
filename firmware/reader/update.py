"""New firmware over USB, by CTAPHID's command 55: docs/reference/protocols.md, updates.md.

A command is a byte that says which, then what it takes. Whoever wants to begin needs a touch, and
before it either the first ten seconds after power came, or the PIN. Header and signature are looked
at first: the person is asked about images of the right firm only, and nothing is erased before.
What came in belongs to the channel that began it, and is dropped when nothing follows for a while.
"""

from time import ticks_diff, ticks_ms

import board
from micropython import const

from lib import ctap, ctaphid, update, wire
from lib.unload import unload
from reader.app import make_room
from reader.refused import Refused

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from reader.app import Reader

_BEGIN = const(1)
_LOAD = const(2)
_SWITCH = const(3)
_CONFIRM = const(4)
_STATUS = const(5)

_SIGNED = const(128)  # header and signature
_MOST = const(2048)  # bytes of a file system in one message
_LASTS_MS = const(30000)
_REFUSALS = (0, ctap.INVALID_LENGTH, ctap.INVALID_PARAMETER, ctap.NOT_ALLOWED)


class Incoming:
    """An image that a channel sends."""

    def __init__(self, signed: bytes, channel: int) -> None:
        """Raises OSError."""
        from lib.loading import Loading  # not before: the signature's check needs the room

        self.loading = Loading(board, signed)
        self.channel = channel
        self.touch()

    def touch(self) -> None:
        """More may come for another while."""
        self._since = ticks_ms()

    def over(self) -> bool:
        """Nothing came for so long that nothing will."""
        return ticks_diff(ticks_ms(), self._since) >= _LASTS_MS


def handle(reader: "Reader", command: int, body: memoryview) -> bytes:
    """One command; its answer without the status. Raises Refused, OSError, DamagedError."""
    if command == _STATUS:
        _need_size(body, 0)
        return _status(reader)
    reader.ready()
    if command == _BEGIN:
        _begin(reader, body)
    elif command == _LOAD:
        _load(reader, body)
    elif command == _SWITCH:
        _need_size(body, 0)
        _switch(reader)
    elif command == _CONFIRM:
        _need_size(body, 0)
        _confirm(reader)
    else:
        raise Refused(ctap.INVALID_SUBCOMMAND)
    return b""


def _need_size(body: memoryview, size: int) -> None:
    if len(body) != size:
        raise Refused(ctap.INVALID_LENGTH)


def _status(reader: "Reader") -> bytes:
    """Format of the state, 0 when there is none that this firmware reads (1), then what runs."""
    store = reader.store
    return bytes((0 if store is None else store.format,)) + update.running(board)


def _begin(reader: "Reader", body: memoryview) -> None:
    """Header and signature, then nothing, or protocol (1) and pinUvAuthParam over both."""
    signed = bytes(body[:_SIGNED])
    if len(signed) < _SIGNED:
        raise Refused(ctap.INVALID_LENGTH)
    _need_allowed(reader, signed, bytes(body[_SIGNED:]))
    fault = update.fault(board, signed, wire.IMAGE_READER, reader.store.format)
    if fault:
        raise Refused(_REFUSALS[fault])
    make_room()  # the signature's check needs it
    unload("lib.loading")
    if not update.trusted(signed):
        raise Refused(ctap.INTEGRITY_FAILURE)
    reader.user.touch(True)
    reader.incoming = None
    reader.incoming = Incoming(signed, reader.channel)
    reader.user.show_update(True)


def _need_allowed(reader: "Reader", signed: bytes, proof: bytes) -> None:
    if proof:
        if proof[0] not in (1, 2):
            raise Refused(ctap.INVALID_PARAMETER)
        message = b"\xff" * 32 + bytes((ctaphid.UPDATE, _BEGIN)) + signed
        reader.token.verify(proof[0], message, proof[1:], ctap.ACFG)
    elif not reader.just_plugged_in():
        raise Refused(ctap.PUAT_REQUIRED if reader.store.pin_length else ctap.NOT_ALLOWED)


def _sending(reader: "Reader") -> Incoming:
    """The image that this channel sends. Raises Refused."""
    incoming = reader.incoming
    if incoming is None or incoming.over() or incoming.channel != reader.channel:
        raise Refused(ctap.NOT_ALLOWED)
    return incoming


def _load(reader: "Reader", body: memoryview) -> None:
    """Offset (4, big endian), then what is there."""
    incoming = _sending(reader)
    if not 4 < len(body) <= 4 + _MOST:
        raise Refused(ctap.INVALID_LENGTH)
    if not incoming.loading.take(int.from_bytes(body[:4], "big"), body[4:]):
        raise Refused(ctap.INVALID_PARAMETER)
    incoming.touch()


def _switch(reader: "Reader") -> None:
    """The image is whole: it runs from the next start, which comes at once, on trial."""
    incoming = _sending(reader)
    reader.drop_update()
    if not incoming.loading.switch():
        raise Refused(ctap.INTEGRITY_FAILURE)
    reader.starts_anew = True


def _confirm(reader: "Reader") -> None:
    """The image on trial has found its state and its sensor, and a person: it stays, and may write
    what the one before cannot read.
    """
    if update.on_trial(board):
        reader.user.touch(True)
    if not update.confirm(board):
        raise Refused(ctap.NOT_ALLOWED)
    reader.store.migrate()
