"""The card, from wake to sleep. Every start is a reset; everything worth keeping is in flash."""

import board


def run() -> None:
    """Never returns: ends in `board.off`."""
    board.off(_live(board.start()))


def _live(cause: int) -> bool:
    """Does what the start was for. True when everything in flash is settled."""
    clean = bool(cause & board.CLEAN)
    if cause & board.BUTTON and not board.button():
        return clean  # a knock: gone before the first look, 20 ms after it
    from card import cell
    from card.glass import notice
    from card.identity import Identity

    identity = Identity(board.identity())
    if not identity.present:
        notice("NO ID", "factory data missing")
        return False
    # An exhausted cell must not be asked to write: that would reset the chip again and again.
    reading = cell.measure(board, cell.NORMAL)
    if reading[1] == cell.CRITICAL and not board.docked():
        notice("CELL EMPTY", "replace card")
        return False
    from card.store import Store
    from lib.journal import DamagedError

    try:
        store = Store(board.journal(), identity, not clean)
    except DamagedError:
        notice("DAMAGED", "return card")
        return False
    except OSError:
        notice("WORN OUT", "replace card")
        return False
    if cause & board.BUTTON and not board.docked():
        from card import undocked

        undocked.answer(store, identity)
    while board.docked():
        from card.docked import serve

        if serve(store, identity):
            board.restart()
    return True
