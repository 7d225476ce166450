"""On the dock: the line is served; a press still gives a code, and prompts show on the display."""

from time import ticks_diff

import board

from card import cell
from card.link import serve as serve_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.identity import Identity
    from card.store import Store


class _Dock:
    """The display while docked."""

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._display = None
        self._since = 0

    def _glass(self):
        if self._display is None:
            self._display = board.display()
        self._since = board.ticks_ms()
        return self._display

    def press(self) -> None:
        """A press that no command asked for."""
        from card import screens

        if not self._store.secret:
            screens.message(self._glass(), "NO KEY", "not in service")
        elif self._display is None:
            screens.code(self._glass(), self._store.take_code(), self._store.cell_state, 100)

    def wait(self, waiting: bool) -> None:
        """A command waits for a press, or has stopped waiting."""
        if waiting:
            from card import screens

            screens.message(self._glass(), "PRESS", "to confirm")
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
        self._display.vcom()
        return min(left, 1000)

    def dark(self) -> None:
        if self._display is not None:
            self._display.clear()
            self._display.off()
            self._display = None


def serve(store: "Store", identity: "Identity") -> None:
    """Until the card is taken off the dock."""

    def measure() -> "tuple[int, int, int]":
        mv, state = cell.measure(board, store.cell_state)
        return mv, state, mv

    dock = _Dock(store)
    try:
        serve_line(board, store, dock.press, measure, dock.wait, dock.idle)
    finally:
        dock.dark()
