"""A press in somebody's hand: short for a code, long for who the card is."""

from time import ticks_diff

import board
from micropython import const

from card import button as buttons
from card import cell, glass, screens
from lib import hotp  # noqa: F401 (of store.take_code)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.identity import Identity
    from card.store import Store
    from typed.board import Display

_FIRST_EVENT_MS = const(2000)
_CODE_MS = const(30000)
_CODE_LOW_MS = const(10000)
_INFO_MS = const(20000)


def answer(store: "Store", identity: "Identity") -> int:
    """From the press that woke the card until its display is dark again. Returns the cell's
    state.
    """
    button = buttons.Button(board, True)
    event = button.wait(_FIRST_EVENT_MS)
    if event == buttons.NONE:
        return store.cell_state  # a knock, not a finger
    display = board.display()
    try:
        if event == buttons.HOLD:
            return _show_info(display, button, store, identity)
        return _show_code(display, button, store)
    finally:
        display.clear()
        display.off()


def _show_code(display: "Display", button: "buttons.Button", store: "Store") -> int:
    _, state = cell.measure(board, store.cell_state)
    if state == cell.CRITICAL:
        _message(display, "CELL EMPTY", "replace card")
    elif not store.seed:
        _message(display, "NO KEY", "not in service")
    else:
        try:
            code = store.take_code(cell_state=state)
        except OSError:
            _message(display, "WORN OUT", "replace card")
        else:
            _keep_code(display, button, code, state)
    return state


def _message(display: "Display", title: str, line: str) -> None:
    screens.message(display, title, line)
    glass.keep(display, glass.MESSAGE_MS)


def _keep_code(display: "Display", button: "buttons.Button", code: str, state: int) -> None:
    """For its time, whatever the button does: presses in a wallet must not move the counter."""
    total = _CODE_LOW_MS if state == cell.LOW else _CODE_MS
    begin = board.ticks_ms()
    screens.code(display, code, state, 100)

    def tick(left: int) -> None:
        screens.bar(display, (100 * left + total // 2) // total if left > 0 else 0)

    left = total
    while left > 0 and not board.docked():
        if glass.keep(display, left, button, tick) == buttons.STUCK:
            return
        left = total - ticks_diff(board.ticks_ms(), begin)


def _show_info(
    display: "Display", button: "buttons.Button", store: "Store", identity: "Identity"
) -> int:
    from card.version import VERSION

    mv, state = cell.measure(board, store.cell_state)
    version = "%d.%d.%d" % VERSION
    screens.info(
        display, str(identity.serial, "ascii"), version, board.NAME, mv, state, identity.qr
    )
    glass.keep(display, _INFO_MS, button)
    return state
