"""The process: the HTTP application, its limits and logs, one worker or several."""

from __future__ import annotations

import sys


def _without_its_reloader() -> None:
    """uvicorn imports a library for its reloader where there is one. Nobody uses it here."""
    name = "watchfiles"
    there = {name: sys.modules.pop(name)} if name in sys.modules else {}
    sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        import uvicorn  # noqa: F401, PLC0415
    finally:
        del sys.modules[name]
        sys.modules.update(there)


_without_its_reloader()
