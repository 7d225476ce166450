"""uvicorn, without the library that it imports for its reloader where there is one. Nobody uses it
here, and each worker would keep it in memory."""

from __future__ import annotations

import sys

_RELOADER = "watchfiles"
_there = {_RELOADER: sys.modules.pop(_RELOADER)} if _RELOADER in sys.modules else {}
sys.modules[_RELOADER] = None  # type: ignore[assignment]  # as if it were not installed
try:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
finally:
    del sys.modules[_RELOADER]
    sys.modules.update(_there)

__all__ = ["HttpToolsProtocol", "uvicorn"]
