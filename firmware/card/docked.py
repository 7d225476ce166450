"""On the dock: the line is served; a press still gives a code, and prompts show on the display."""

from time import ticks_diff

import board
from micropython import const

from card import cell
from card.link import serve as serve_line
from lib.unload import unload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.identity import Identity
    from card.store import Store
    from typed.board import Display
    from typed.kinds import NotYet


_INVERT_MS = const(900)  # a memory LCD may go without for a second


class _Dock:
    """The display while docked."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._display: "Display | None" = None
        self._code_up = False  # a press meanwhile must not move the counter again
        self._since: "NotYet" = 0
        self._inverted: "NotYet" = 0

    def _glass(self) -> "Display":
        if self._display is None:
            self._display = board.display()
        self._since = self._inverted = board.ticks_ms()
        return self._display

    def press(self) -> None:
        """A press that no command asked for."""
        _make_room()
        from card import screens

        store = self._store
        if not store.seed:
            screens.message(self._glass(), "NO KEY", "not in service")
        elif cell.measure(board, store.cell_state)[1] == cell.CRITICAL:
            screens.message(self._glass(), "CELL EMPTY", "replace card")
        elif not self._code_up:
            try:
                code = store.take_code()
            except OSError:
                screens.message(self._glass(), "WORN OUT", "replace card")
            else:
                screens.code(self._glass(), code, store.cell_state, 100)
                self._code_up = True

    def wait(self, what: str) -> None:
        """A command waits for a press: for what. Empty: it has stopped waiting."""
        if what:
            _make_room()
            from card import screens

            screens.message(self._glass(), "PRESS", what)
        else:
            self.dark()

    def idle(self) -> int:
        """Time passes: keeps a picture up for its time."""
        if self._display is None:
            return 0
        left = 30000 - ticks_diff(board.ticks_ms(), self._since)
        if left <= 0:
            self.dark()
            return 0
        if ticks_diff(board.ticks_ms(), self._inverted) >= _INVERT_MS:
            self._inverted = board.ticks_ms()
            self._display.vcom()
        return min(left, _INVERT_MS)

    def dark(self) -> None:
        if self._display is not None:
            self._display.clear()
            self._display.off()
            self._display = None
            # Not needed before the next press, and commands need the room.
            unload("card.screens", "card.digits", "lib.memory_lcd", "lib.ssd1306")
            unload("lib.hotp", "lib.hmac")
        self._code_up = False


def _make_room() -> None:
    """No command is served while something is drawn; the next one loads what it needs."""
    unload("card.issuer", "card.oath", "card.selftest", "card.version", "lib.tlv")


def _migrate(store: "Store") -> None:
    """An image that was flashed, or confirmed when power went, finds an older state."""
    from card import update
    from lib.journal import DamagedError

    try:
        update.migrate(store)
    except (OSError, DamagedError):
        pass  # it stays as it is, and goes on working
    unload("card.update", "lib.update", "lib.slots")


def serve(store: "Store", identity: "Identity") -> bool:
    """Until the card is taken off the dock, or is to start again (True)."""

    def measure() -> "tuple[int, int]":
        return cell.measure(board, store.cell_state)

    if store.older:
        _migrate(store)
    dock = _Dock(store)
    try:
        return serve_line(board, store, dock.press, measure, dock.wait, dock.idle)
    finally:
        dock.dark()
