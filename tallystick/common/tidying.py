"""Python's search for what nobody needs any more, put off while much is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_to_tidy() -> Iterator[None]:
    """The search would go through all of it again and again: a sixth of a server's start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
