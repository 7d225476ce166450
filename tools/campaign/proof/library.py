"""Modules of firmware/lib in this Python, from any firmware folder, without touching what this
process has imported. They are plain Python but for MicroPython's `const`."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tallystick.tools import firmware


class Library:
    """`library["journal"]` is lib/journal.py of the firmware in `root` (default: this one's)."""

    def __init__(self, root: Path | None = None) -> None:
        self._folder = (root or firmware.root()) / "lib"
        self._loaded: dict[str, ModuleType] = {}

    def __getitem__(self, name: str) -> Any:
        """Raises FileNotFoundError."""
        if name not in self._loaded:
            path = self._folder / f"{name}.py"
            module = ModuleType(f"firmware.lib.{name}")
            self._loaded[name] = module
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)  # noqa: S102
        return self._loaded[name]

    def _import(self, name: str, *rest: Any) -> Any:
        if name == "micropython":
            return SimpleNamespace(const=lambda value: value)
        if name.startswith("lib."):
            return self[name.removeprefix("lib.")]
        return builtins.__import__(name, *rest)
