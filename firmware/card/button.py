"""The card's button: what a finger, a bounce or a full wallet did to it.

Uses of the board only `button()` (true while down), `wait(ms)` (sleeps lightly for up to ms, less
when the button's level changes) and `ticks_ms()`.
"""

from time import ticks_diff

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Button as Board
    from typed.kinds import Ticks

NONE = const(0)  # nothing happened in the time given
PRESS = const(1)  # pressed and released
HOLD = const(2)  # still down after 1.5 s; its release is no press
STUCK = const(3)  # still down after 10 s: no event follows until it is released

_DEBOUNCE_MS = const(20)
_HOLD_MS = const(1500)
_STUCK_MS = const(10000)


class Button:
    """Turns levels into events. `down` is the debounced level; give it when it is known already,
    as after a wake by the button."""

    def __init__(self, board: "Board", down: bool = False) -> None:
        self._board = board
        self.down = down
        self._level = down
        self._since = board.ticks_ms()  # when the level last changed
        self._pressed = self._since  # when it went down
        self._told = NONE  # the last event of this press

    def wait(self, timeout_ms: int) -> int:
        """The next event, or NONE after timeout_ms."""
        start = self._board.ticks_ms()
        while True:
            now = self._board.ticks_ms()
            self._sample(now)
            event = self._event(now)
            if event:
                return event
            left = timeout_ms - ticks_diff(now, start)
            if left <= 0:
                return NONE
            self._board.wait(min(left, self._until_change(now)))

    def _sample(self, now: "Ticks") -> None:
        level = bool(self._board.button())
        if level != self._level:
            self._level = level
            self._since = now

    def _event(self, now: "Ticks") -> int:
        if self._level != self.down:
            if ticks_diff(now, self._since) < _DEBOUNCE_MS:
                return NONE
            self.down = self._level
            if self.down:
                self._pressed = self._since
                self._told = NONE
            elif self._told == NONE:
                return PRESS
        if self.down:
            held = ticks_diff(now, self._pressed)
            if self._told == NONE and held >= _HOLD_MS:
                self._told = HOLD
                return HOLD
            if self._told == HOLD and held >= _STUCK_MS:
                self._told = STUCK
                return STUCK
        return NONE

    def _until_change(self, now: "Ticks") -> int:
        """Milliseconds until time alone can bring an event."""
        if self._level != self.down:
            return _DEBOUNCE_MS - ticks_diff(now, self._since)
        if self.down and self._told != STUCK:
            limit = _HOLD_MS if self._told == NONE else _STUCK_MS
            return limit - ticks_diff(now, self._pressed)
        return _STUCK_MS
