"""Names that the published stubs of a port declare (`tools/upkeep/declared.py` lists them)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "chips" / "stubs"
PAGE = "docs/guides/emulator.md"
# How MicroPython says that a thing lacks an attribute; the thing is a class of `machine` then.
_LACKS = re.compile(
    r"AttributeError: (?:type object )?'(\w+)'(?: object)? has no attribute '(\w+)'"
)


@cache
def _names(port: str) -> frozenset[str]:
    path = FOLDER / f"{port}.txt"
    return frozenset(path.read_text(encoding="utf-8").split() if path.is_file() else ())


def names(port: str) -> list[str]:
    """All of them."""
    return sorted(_names(port))


def has(port: str, name: str) -> bool:
    """name: `module.name` or `module.Class.name`."""
    return name in _names(port)


def lacking(port: str, traceback: str) -> str:
    """What the traceback's last line wants and the emulator does not have; "" for anything else."""
    last = traceback.strip().rpartition("\n")[2]
    found = _LACKS.fullmatch(last)
    if found is None:
        return ""
    name = f".{found[1]}.{found[2]}"
    return next((one for one in sorted(_names(port)) if one.endswith(name)), "")
