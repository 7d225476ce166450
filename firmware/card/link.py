"""The serial line while the card is docked: bytes to T=1, commands to the applets, answers back.

Every wait is board.wait(): light sleep, ended early by a byte, by the button or by undocking.
"""

from gc import collect
from time import ticks_diff

from micropython import const

from card.applets import Applets
from lib import wire
from lib.t1 import T1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from card.store import Store
    from typed.board import Card

_APDU_MAX = const(512)
_IDLE_MS = const(1000)
_PAUSE_MS = const(1000)
_DEBOUNCE_MS = const(20)
_EXTENSION = const(3)  # block waiting times that one S(WTX) asks for
_EXTEND_EVERY_MS = const(2000)


def serve(
    board: "Card",
    store: "Store",
    on_press: "Callable[[], None]",
    cell: "Callable[[], tuple[int, int]]",
    on_wait: "Callable[[str], None] | None" = None,
    on_idle: "Callable[[], int] | None" = None,
) -> bool:
    """Serve the line until the card is taken out of its dock, or is to start again (True).

    on_press: the button was pressed while no command waited for it. The station gets no answer
    until it returns, so it must not take as long as the block waiting time (1 s).
    cell: millivolts under load, state (0, 1, 2).
    on_wait: for what a command begins to wait for a press; empty when that is over.
    on_idle: called between waits; returns after how many ms it wants to be called again, 0: never.
    """
    line = _Line(board, store)
    line.on_press = on_press
    line.cell = cell
    line.on_wait = on_wait
    line.on_idle = on_idle
    try:
        line.serve()
    finally:
        line.close()
    return line.ending


class _Line:
    """The docked card; also what the applets know as their terminal."""

    on_press: "Callable[[], None]"
    cell: "Callable[[], tuple[int, int]]"
    on_wait: "Callable[[str], None] | None"
    on_idle: "Callable[[], int] | None"

    def __init__(self, board: "Card", store: "Store") -> None:
        # `serve` sets them at once.
        self.on_press = self.cell = self.on_wait = self.on_idle = None  # type: ignore[assignment]
        self._board = board
        self._uart = board.serial()
        self._bytes = memoryview(bytearray(64))
        self._heard = board.ticks_ms()  # when a byte last came in
        self._down = True  # the button, when last looked at; one held since docking is no press
        self._apdu = bytearray(_APDU_MAX)
        self._t1 = T1(self._apdu, self._send)
        self._applets = Applets(store, self)
        self.ending = False

    def serve(self) -> None:
        board = self._board
        while board.docked() and not self.ending:
            self._listen()
            if self._t1.ready:
                self._execute()
            if self._pressed():
                self.on_press()
            wait = (self.on_idle() if self.on_idle else 0) or _IDLE_MS
            self._sleep(wait)

    def close(self) -> None:
        """Undocked: what the session and the buffers hold is forgotten."""
        self._applets.reset()
        self._wipe(0, _APDU_MAX)

    # What the applets may ask for.

    def random(self, n: int) -> bytes:
        return self._board.random(n)

    def board_name(self) -> str:
        return self._board.NAME

    def restart(self) -> None:
        """Have the card start again, once the command in hand is answered."""
        self.ending = True

    def extend(self) -> None:
        """Ask the station for time: what follows takes longer than the block waiting time."""
        self._t1.extend(_EXTENSION)

    def pause(self) -> None:
        """Let a second pass; the station is told that it takes longer."""
        board = self._board
        begin = board.ticks_ms()
        self.extend()
        left = _PAUSE_MS
        while left > 0 and board.docked():
            self._sleep(left)
            self._listen()
            left = _PAUSE_MS - ticks_diff(board.ticks_ms(), begin)

    def press(self, what: str) -> bool:
        """Wait for a press; False when none comes in time, or the station or the dock is gone."""
        if self.on_wait:
            self.on_wait(what)
        try:
            return self._wait_for_press()
        finally:
            if self.on_wait:
                self.on_wait("")

    def _wait_for_press(self) -> bool:
        board = self._board
        begin = extended = board.ticks_ms()
        self._down = True  # a button that is held already does not count: it must come up first
        self._t1.extend(_EXTENSION)
        while board.docked() and self._t1.busy:
            now = board.ticks_ms()
            left = wire.PRESS_TIMEOUT_MS - ticks_diff(now, begin)
            if left <= 0:
                return False
            if ticks_diff(now, extended) >= _EXTEND_EVERY_MS and not self._t1.partial:
                extended = now
                self._t1.extend(_EXTENSION)
            if self._pressed():
                return True
            self._sleep(min(left, max(1, _EXTEND_EVERY_MS - ticks_diff(now, extended))))
            self._listen()
        return False

    def _pressed(self) -> bool:
        """Whether the button went down since it was last looked at, and not in a bounce."""
        before = self._down
        self._down = down = bool(self._board.button())
        return down and not before and self._stays_down()

    def _stays_down(self) -> bool:
        """Whether the button is down for longer than it may bounce."""
        board = self._board
        begin = board.ticks_ms()
        left = _DEBOUNCE_MS
        while left > 0:
            board.wait(left)
            if not board.button():
                self._down = False
                return False
            left = _DEBOUNCE_MS - ticks_diff(board.ticks_ms(), begin)
        return True

    def _execute(self) -> None:
        t1 = self._t1
        size = t1.size
        answer = self._applets.process(t1.take())
        if t1.busy:
            t1.respond(answer)
            self._wipe(0, size)
        else:  # the station gave the command up, and may have begun the next one
            self._wipe(t1.size, size)
        collect()

    def _wipe(self, begin: int, end: int) -> None:
        apdu = self._apdu
        for i in range(begin, end):
            apdu[i] = 0

    def _listen(self) -> None:
        """Take in what has come, and notice when the line has fallen silent."""
        board = self._board
        n = self._uart.any()
        while n and not self._t1.ready:
            # Never None: `any` says that bytes are there.
            n = self._uart.readinto(self._bytes, min(n, len(self._bytes)))  # type: ignore[assignment]
            self._heard = board.ticks_ms()
            self._t1.feed(self._bytes[:n])
            n = self._uart.any()
        if self._t1.partial and self._silence() >= wire.CHARACTER_TIMEOUT_MS:
            self._t1.quiet()

    def _silence(self) -> int:
        return ticks_diff(self._board.ticks_ms(), self._heard)

    def _sleep(self, ms: int) -> None:
        if self._t1.partial:
            ms = min(ms, max(1, wire.CHARACTER_TIMEOUT_MS - self._silence()))
        if not self._uart.any() and self._board.docked():
            self._board.wait(ms)  # which would sleep lightly, were it just taken off

    def _send(self, block: memoryview) -> None:
        n = self._uart.any()
        while n:  # half duplex: see T1.feed
            self._uart.readinto(self._bytes, min(n, len(self._bytes)))
            n = self._uart.any()
        while block:
            done = self._uart.write(block)
            if not done:
                return  # the line takes nothing more; the station will ask again
            block = block[done:]
