"""What board.toml can solder to a board. A kind is a class in a module of this folder, with the
name by which board.toml asks for it; no list has to be told."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from tallystick.emulator.parts.part import BoardPart


@cache
def kinds() -> dict[str, type[BoardPart]]:
    """Of this folder: name → class."""
    modules = [import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return {part.kind: part for module in modules for part in _parts(module)}


def _parts(module: ModuleType) -> list[type[BoardPart]]:
    """Those that are defined there and have a name of their own."""
    return [
        one
        for one in vars(module).values()
        if isinstance(one, type)
        and issubclass(one, BoardPart)
        and one.__module__ == module.__name__
        and vars(one).get("kind")
    ]
