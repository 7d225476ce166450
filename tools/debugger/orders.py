"""What is shared with a firmware that is debugged: orders, then a byte a statement.
`emulator/port/tallydebug.py` has the same table."""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum

FIRST = 32  # number of the first statement
SIZE = 64 * 1024  # bytes: orders and statements
_TARGET = 8


class Order(IntEnum):
    """Until when it runs. TO and later: to a count of statements, past breakpoints."""

    RUN = 0
    IN = 1
    OVER = 2
    OUT = 3
    PAUSE = 4
    TO = 5
    LOG_ALL = 6
    LOG_HITS = 7


class Flags:
    """Of a file in memory that two processes have open. 1: a breakpoint."""

    def __init__(self, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, SIZE)

    def order(self, order: Order, boot: int = 0, count: int = 0) -> None:
        struct.pack_into("<QI", self.memory, _TARGET, count, boot)
        self.memory[0] = order

    def breakpoints(self, statements: set[int]) -> None:
        self.memory[FIRST:] = bytes(SIZE - FIRST)
        for number in statements:
            self.memory[number] = 1
