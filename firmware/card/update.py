"""A new image for the slot that does not run: updates.md. Here is what a card asks before a byte
of it is stored, `card.loading` has the rest.

The header comes first, with its signature: nothing is erased for an image that will not be taken.
Seed, keys and moving factor are in the journal, which neither module knows.
"""

import sys

import board
from micropython import const

from lib import update, wire
from lib.apdu import Refused
from lib.slots import settled

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from card.applets import Applets
    from card.store import Store
    from lib.apdu import Command

_REFUSALS = (0, wire.SW_LENGTH, wire.SW_DATA, wire.SW_CONDITIONS)


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
    return update.running(board)


def _begin(card: "Applets", signed: bytes) -> bytes:
    """Check the header and its signature; answers where to go on, 4 bytes."""
    if "card.loading" in sys.modules:
        from card import loading

        if loading.current and loading.current.signed == signed:
            return loading.current.next.to_bytes(4, "big")
        loading.current = None
    fault = update.fault(board, signed, wire.IMAGE_CARD, card.store.format)
    if fault:
        raise Refused(_REFUSALS[fault])
    card.need_consent("for new firmware")
    _make_room(card)
    if not update.trusted(signed):
        raise Refused(wire.SW_NOT_AUTHENTICATED)
    from card import loading

    loading.begin(signed)
    return bytes(4)


def _make_room(card: "Applets") -> None:
    """For the signature's check, which takes long, too."""
    from lib.unload import unload

    card.terminal.extend()
    unload("card.issuer", "card.oath", "card.screens", "card.digits", "lib.hotp", "lib.memory_lcd")
    unload("card.loading", "card.selftest", "card.version", "lib.tlv", "lib.hmac", "lib.ssd1306")
    unload("lib.loading")


def _confirm(card: "Applets") -> bytes:
    """The image on trial has served an authenticated command: it stays, and may write what the one
    before cannot read.
    """
    if not update.confirm(board):
        raise Refused(wire.SW_CONDITIONS)
    migrate(card.store)
    return b""


def migrate(store: "Store") -> None:
    """Once nothing leads back to another image. Raises OSError."""
    if settled(board):
        store.migrate()
