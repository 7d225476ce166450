"""How many files this process has open."""

from __future__ import annotations

import errno
import math
import resource
from pathlib import Path


def open_files() -> tuple[float, float | None]:
    """→ how many this process may have open, and has; None where nobody can say"""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = math.inf if soft == resource.RLIM_INFINITY else float(soft)
    try:
        return limit, float(sum(1 for _ in Path("/proc/self/fd").iterdir()))
    except OSError as error:
        return limit, limit if error.errno == errno.EMFILE else None
