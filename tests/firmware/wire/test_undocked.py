"""Taken off the dock at any instant, the card does not sleep on as a docked one."""

from __future__ import annotations

import pytest

# The dock is there for so many looks at it; a wait after them would be a light sleep, which only a
# press ends, and that press would be lost.
SOURCE = """
from card import link

class Uart:
    def any(self):
        return 0

class Board:
    looks = {looks}
    slept = []

    def serial(self):
        return Uart()

    def docked(self):
        self.looks -= 1
        return self.looks >= 0

    def button(self):
        return False

    def ticks_ms(self):
        return 0

    def wait(self, ms):
        if self.looks <= 0:
            self.slept.append(ms)

class Store:
    pass

board = Board()
link.Applets = lambda store, line: Nothing()

class Nothing:
    def reset(self):
        pass

link.serve(board, Store(), None, None)
answer(board.slept)
"""


@pytest.mark.parametrize("looks", [1, 3])
def test_no_wait_begins_once_the_dock_was_seen_gone(micropython, looks):
    """The loop's look was the last that saw it."""
    assert micropython.run(SOURCE.format(looks=looks)) == []
