"""MicroPython's side of measuring coverage where there is no emulator: counters kept in a file when
the process ends. emulator/port/coverhits.py is the emulator's."""

import os
import sys
import time

_memory = bytearray(16384)


def _keep():
    if _memory[0] | _memory[1] | _memory[2] | _memory[3]:
        name = f"{os.getenv('TALLY_COVERAGE')}/hits-{time.time_ns()}-{id(_memory)}.bin"
        with open(name, "wb") as file:  # noqa: PTH123 (MicroPython)
            file.write(_memory)


sys.atexit(_keep)


def hits(table):
    _memory[:4] = table.to_bytes(4, "little")
    return memoryview(_memory)[4:]
