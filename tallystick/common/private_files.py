"""Files that nobody but their owner may read."""

from __future__ import annotations

import sys
from pathlib import Path


def others_may_read(path: Path) -> bool:
    """Whether other users of this computer may read a file, by its mode. On Windows the folder of
    the user keeps them out, and files have no such mode."""
    return sys.platform != "win32" and bool(path.stat().st_mode & 0o077)
