"""Bring-up: the card tests what is soldered to it, one part a command. A card in service does so
for its firm only; flash is tested on a card that holds nothing yet."""

import board
import booted

from lib import wire
from lib.apdu import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.applets import Applets
    from lib.apdu import Command
    from typed.board import Flash


def process(card: "Applets", command: "Command") -> bytes:
    """The answer without its status word. Raises Refused, with SW_FLASH when flash is bad."""
    if card.store.life_cycle >= wire.SECURED:
        card.need_firm_keys()
    part = command.p1
    if command.p2 or command.data:
        raise Refused(wire.SW_P1P2)
    if part == wire.TEST_PATTERN:
        return _pattern()
    if part == wire.TEST_DARK:
        display = board.display()
        display.clear()
        display.off()
        return b""
    if part == wire.TEST_BUTTON:
        card.need_press("for the test")
        return b""
    if part == wire.TEST_FLASH:
        if card.store.life_cycle != wire.OP_READY:
            raise Refused(wire.SW_CONDITIONS)
        return _flash()
    if part == wire.TEST_HEAP:
        return _heap()
    raise Refused(wire.SW_P1P2)


def _pattern() -> bytes:
    """A frame, a checkerboard of 8 pixels and the diagonals: every line and column is used."""
    display = board.display()
    fb, ink = display.fb, display.ink
    width, height = display.width, display.height
    display.empty()
    for y in range(0, height, 8):
        for x in range(y & 8, width, 16):
            fb.fill_rect(x, y, 8, 8, ink)
    fb.rect(0, 0, width, height, ink)
    fb.line(0, 0, width - 1, height - 1, ink)
    fb.line(0, height - 1, width - 1, 0, ink)
    display.show()
    return b""


def _flash() -> bytes:
    """Erase, read, program and read the last sector of the slot that does not run."""
    flash = board.slot(1 - booted.slot)
    sector = flash.SECTORS - 1
    begin = sector * flash.SECTOR
    piece = bytearray(256)
    for value in (0x55, 0xAA):
        flash.erase(sector)
        _expect(flash, begin, piece, 0xFF)
        for i in range(256):
            piece[i] = value
        for at in range(0, flash.SECTOR, 256):
            flash.program(begin + at, piece)
        _expect(flash, begin, piece, value)
    flash.erase(sector)
    _expect(flash, begin, piece, 0xFF)
    return b""


def _expect(flash: "Flash", begin: int, piece: bytearray, value: int) -> None:
    for at in range(0, flash.SECTOR, 256):
        flash.read(begin + at, piece)
        if piece != bytes((value,)) * 256:
            raise Refused(wire.SW_FLASH)


def _heap() -> bytes:
    """Bytes of heap that MicroPython gives, bytes that the firmware needs: 4 + 4."""
    import gc

    total = gc.mem_alloc() + gc.mem_free()
    return total.to_bytes(4, "big") + board.HEAP.to_bytes(4, "big")
