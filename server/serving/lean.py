"""uvicorn, without what it imports to start others of itself and to reload: nobody uses that here,
and each worker would keep it in memory."""

from __future__ import annotations

import sys
from types import ModuleType

_SUPERVISORS = ModuleType("uvicorn.supervisors")
_SUPERVISORS.ChangeReload = _SUPERVISORS.Multiprocess = None  # type: ignore[attr-defined]
# None: as if it were not installed.
_MEANWHILE: dict[str, ModuleType | None] = {
    "watchfiles": None,
    "uvicorn.supervisors": _SUPERVISORS,
}
_there = {name: sys.modules.pop(name) for name in _MEANWHILE if name in sys.modules}
sys.modules.update(_MEANWHILE)  # type: ignore[arg-type]
try:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
finally:
    for _name in _MEANWHILE:
        del sys.modules[_name]
    sys.modules.update(_there)

__all__ = ["HttpToolsProtocol", "uvicorn"]
