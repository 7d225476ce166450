"""Processes that are not ours: who descends from whom, and do they end."""

import contextlib
import os
import select
from pathlib import Path


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    todo = [pid]
    while todo:
        for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                fresh = {int(child) for child in children.read_text().split()} - found
                found |= fresh
                todo += fresh
    return found


def ended(pid: int) -> bool:
    """Waits for the end of a process, 10 s at most."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)
