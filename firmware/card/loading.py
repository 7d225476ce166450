"""LOAD, and INSTALL to switch: what a card is asked once `card.update` took an image's header."""

import board
from micropython import const

from lib import wire
from lib.apdu import Refused
from lib.loading import Loading

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from card.applets import Applets
    from lib.apdu import Command

current: "Loading | None" = None  # stays when a line fails: the station goes on where it was


def begin(signed: bytes) -> None:
    """Takes the image that the header speaks of. Raises OSError."""
    global current
    current = Loading(board, signed)


def process(card: "Applets", command: "Command") -> bytes:
    """LOAD, and INSTALL to switch. Raises Refused, OSError."""
    if command.ins == wire.INS_LOAD:
        return _load(command.data)
    if command.p1 == wire.INSTALL_SWITCH:
        return _switch(card)
    raise Refused(wire.SW_P1P2)


def _load(data: memoryview) -> bytes:
    if not current:
        raise Refused(wire.SW_CONDITIONS)
    if not 4 < len(data) <= 4 + wire.LOAD_MAX:
        raise Refused(wire.SW_LENGTH)
    if not current.take(int.from_bytes(data[:4], "big"), data[4:]):
        raise Refused(wire.SW_DATA)
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
    if not loading.switch():
        raise Refused(wire.SW_DATA)
    card.terminal.restart()
    return b""
