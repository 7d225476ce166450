"""Counters of an image that was built to measure coverage: one byte a statement, shared with the
host. The first four bytes say which table of statements they belong to.
"""

memory = None  # set by boot.py, where the host has given room for it


def hits(table):
    if memory is None:
        raise RuntimeError("this image measures coverage: start the emulator with TALLY_COVERAGE")
    memory[:4] = table.to_bytes(4, "little")
    return memory[4:]
