"""A press in somebody's hand: short for a code, long for who the card is."""

import board
from micropython import const

from card import button as buttons
from card import cell, glass, screens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.identity import Identity
    from card.store import Store

_FIRST_EVENT_MS = const(2000)
_CODE_MS = const(30000)
_CODE_LOW_MS = const(10000)
_INFO_MS = const(20000)


def answer(store: "Store", identity: "Identity") -> None:
    """From the press that woke the card until its display is dark again."""
    button = buttons.Button(board, True)
    event = button.wait(_FIRST_EVENT_MS)
    if event == buttons.NONE:
        return  # a knock, not a finger
    display = board.display()
    try:
        if event == buttons.HOLD:
            _show_info(display, button, store, identity)
        else:
            _show_code(display, button, store)
    finally:
        display.clear()
        display.off()


def _show_code(display, button, store: "Store") -> None:
    if not store.secret:
        screens.message(display, "NO KEY", "not in service")
        glass.keep(display, glass.MESSAGE_MS)
        return
    mv, state = cell.measure(board, store.cell_state)
    if state == cell.CRITICAL:
        screens.message(display, "CELL EMPTY", "replace card")
        glass.keep(display, glass.MESSAGE_MS)
        return
    try:
        code = store.take_code(cell_state=state)
    except OSError:
        screens.message(display, "WORN OUT", "replace card")
        glass.keep(display, glass.MESSAGE_MS)
        return
    total = _CODE_LOW_MS if state == cell.LOW else _CODE_MS
    screens.code(display, code, state, 100)

    def tick(left: int) -> None:
        screens.bar(display, 100 * left // total if left > 0 else 0)

    # A press while the code is up shows the same code: presses in a wallet must not move the
    # counter.
    while True:
        event = glass.keep(display, total, button, tick)
        if event != buttons.PRESS:
            return
        screens.code(display, code, state, 100)


def _show_info(display, button, store: "Store", identity: "Identity") -> None:
    from card.version import VERSION

    mv, state = cell.measure(board, store.cell_state)
    version = "%d.%d.%d" % VERSION
    screens.info(
        display, str(identity.serial, "ascii"), version, board.NAME, mv, state, identity.qr
    )
    while True:
        event = glass.keep(display, _INFO_MS, button)
        if event != buttons.HOLD:
            return
