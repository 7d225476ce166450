"""The card, from wake to sleep. Every start is a reset; everything worth keeping is in flash."""

import gc

import micropython

gc.collect()  # the boot stage is over
gc.threshold(8192)  # collect often: holes then stay few and large
micropython.kbd_intr(-1)  # a byte on the serial line must not stop the firmware

import board
import booted


def run() -> None:
    """Never returns: ends in `board.off`."""
    board.off(_live(board.start()))


def _live(cause: int) -> int:
    """Does what the start was for. Returns the flags for `board.off`."""
    flags = cause & (board.CLEAN | board.EMPTY)
    if cause & board.BUTTON and not booted.button:
        return flags  # a knock: gone before the first look
    from card import cell
    from card.glass import blank, notice
    from card.identity import Identity

    if cause == board.COLD:
        blank()  # what a panel shows after power-on is anything
    identity = Identity(board.identity())
    if not identity.present:
        notice("NO ID", "factory data missing")
        return 0
    # An exhausted cell must not be asked to write: that would reset the chip again and again.
    before = cell.CRITICAL if flags & board.EMPTY else cell.NORMAL
    if cell.measure(board, before)[1] == cell.CRITICAL and not board.docked():
        notice("CELL EMPTY", "replace card")
        return flags | board.EMPTY
    press = cause & board.BUTTON and not board.docked()
    # All that a press needs, and a station first, is loaded before the state is read.
    if press:
        from card import undocked
    elif board.docked():
        from card import docked  # noqa: F401
    from card.store import Store
    from lib.journal import DamagedError, StrangeError

    try:
        store = Store(board.journal(), identity, not flags & board.CLEAN)
    except StrangeError:
        notice("TOO OLD", "for its data: return card")
        return 0
    except DamagedError:
        notice("DAMAGED", "return card")
        return 0
    except OSError:
        notice("WORN OUT", "replace card")
        return 0
    if press:
        if undocked.answer(store, identity) == cell.CRITICAL:
            return board.CLEAN | board.EMPTY
    while board.docked():
        from card.docked import serve

        if serve(store, identity):
            board.restart()
    return board.CLEAN
