"""Where firmware that was built to measure coverage leaves what it has executed.

$TALLY_COVERAGE names a folder. While it is set, images are built with a counter before every
statement (tools/coverage), a chip has room for the counters behind its flash, and at its end they
are kept in the folder, one small file a chip, whatever process it was in.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ENVIRONMENT = "TALLY_COVERAGE"
ROOM = 16 * 1024  # bytes: the table's number, then a counter each
HEAP = 64 * 1024  # more than the board has, for the counting code


def folder() -> Path | None:
    """Where to keep counters; None when nobody measures."""
    named = os.environ.get(ENVIRONMENT)
    if not named:
        return None
    path = Path(named)
    path.mkdir(parents=True, exist_ok=True)
    return path


def room() -> int:
    """Bytes for counters; 0 when nothing is counted."""
    return ROOM if os.environ.get(ENVIRONMENT) else 0


def keep(counters: bytes) -> None:
    """Keeps what a chip has counted, if it has."""
    where = folder()
    if where is None or not any(counters[:4]):
        return
    with tempfile.NamedTemporaryFile(
        dir=where, prefix="hits-", suffix=".bin", delete=False
    ) as file:
        file.write(counters.rstrip(b"\0"))
