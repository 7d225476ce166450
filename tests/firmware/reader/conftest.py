"""The reader's rooms in this interpreter too: plain Python, whose steps can be counted here."""

from __future__ import annotations

import importlib
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FIRMWARE = Path(__file__).parents[3] / "firmware"


@pytest.fixture(scope="session")
def room() -> Iterator[Callable[[str], Any]]:
    """Imports a module of the firmware (`lib.p256`) as it is in the source."""
    given = types.ModuleType("micropython")
    given.const = lambda value: value  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "micropython", given)
        patch.syspath_prepend(str(FIRMWARE))
        yield importlib.import_module
        for name in [n for n in sys.modules if n == "lib" or n.startswith("lib.")]:
            patch.delitem(sys.modules, name)


@pytest.fixture
def alone(
    room: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Any]]:
    """As `room`, for one of the reader's modules: nothing of it is encrypted, no time passes."""
    before = set(sys.modules)
    given = types.ModuleType("cryptolib")
    given.aes = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cryptolib", given)
    for name in ("ticks_add", "ticks_diff", "ticks_ms"):
        monkeypatch.setattr(time, name, None, raising=False)
    yield room
    for name in set(sys.modules) - before - {"cryptolib"}:
        if name.startswith(("reader.", "lib.")):
            del sys.modules[name]
