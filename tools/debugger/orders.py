"""What is shared with a firmware that is debugged: orders, then a byte a statement.
`emulator/port/tallydebug.py` has the same table."""

from __future__ import annotations

import mmap
import os
import struct
from enum import IntEnum

FIRST = 32  # number of the first statement
SIZE = 64 * 1024  # bytes: orders and statements
_TARGET = 8
_LOGS = 2
_WANTED = 1  # a person wants it to pause: the server's, until it has
_GOES_ON = 3  # the breakpoint that it was held at was none: the step before goes on


class Order(IntEnum):
    """Until when it runs."""

    RUN = 0
    IN = 1
    OVER = 2
    OUT = 3
    PAUSE = 4
    LOG_ALL = 5


def shared_flags() -> int:
    """A file in memory for `Flags`: its descriptor."""
    descriptor = os.memfd_create("tally-debug", 0)
    os.ftruncate(descriptor, SIZE)
    return descriptor


class Flags:
    """Of a file in memory that two processes have open. 1: a breakpoint."""

    def __init__(self, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, SIZE)

    def order(self, order: Order, boot: int = 0, count: int = 0, *, logs: bool = False) -> None:
        """boot, count: it stops there, too. logs: it tells of breakpoints, and stops at none."""
        struct.pack_into("<QI", self.memory, _TARGET, count, boot)
        self.memory[_LOGS] = logs
        self.memory[0] = order

    def go(self, order: Order) -> None:
        """An order that a person's wish for a pause comes before, whichever came first."""
        self.order(order)
        if self.pause_wanted:
            self.memory[0] = Order.PAUSE

    def goes_on(self) -> None:
        """From a breakpoint whose condition does not hold: a step is where it was before."""
        self.memory[_GOES_ON] = 1

    def want_pause(self) -> None:
        """From another process."""
        self.memory[_WANTED] = 1
        self.memory[0] = Order.PAUSE

    @property
    def pause_wanted(self) -> bool:
        return bool(self.memory[_WANTED])

    def has_paused(self) -> None:
        self.memory[_WANTED] = 0

    def breakpoints(self, statements: set[int]) -> None:
        self.memory[FIRST:] = bytes(SIZE - FIRST)
        for number in statements:
            self.memory[number] = 1
