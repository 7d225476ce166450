"""Puts the numbers of `lib/wire.py` where their names stand, as `const()` does inside one module.

The firmware names status words, tags and instructions in one place. On the device each name would
cost a dictionary entry and a string in RAM; in the image it costs nothing.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

MODULE = "lib/wire.py"
_IMPORT = re.compile(r"^(\s*)from lib import (?P<names>[\w, ]+)$", re.MULTILINE)


def table(path: Path) -> dict[str, str]:
    """Constant name → literal, read without running the file."""
    values: dict[str, str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call):  # const(...)
                value = value.args[0]
            values[node.targets[0].id] = repr(ast.literal_eval(value))
    return values


def inline(source: str, constants: dict[str, str]) -> str:
    """The source with `wire.NAME` replaced and its import gone; lines stay where they are.

    Raises KeyError for a name that `lib/wire.py` does not have.
    """
    if not re.search(r"\bwire\b", source):
        return source

    def without_wire(match: re.Match[str]) -> str:
        names = [name for name in re.split(r",\s*", match["names"]) if name != "wire"]
        kept = f"from lib import {', '.join(names)}" if names else "pass"
        return match[1] + kept

    source = _IMPORT.sub(without_wire, source)
    return re.sub(r"\bwire\.([A-Z][A-Z0-9_]*)\b", lambda m: constants[m[1]], source)
