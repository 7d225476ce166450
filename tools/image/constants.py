"""Puts the numbers of `lib/wire.py` and `lib/ctap.py` where their names stand, as `const()` does
inside one module.

The firmware names status words, tags and instructions in one place. On the device each name would
cost a dictionary entry and a string in RAM; in the image it costs nothing.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

MODULES = {"wire": "lib/wire.py", "ctap": "lib/ctap.py"}
_IMPORT = re.compile(r"^(\s*)from lib import (?P<names>[\w, ]+)$", re.MULTILINE)


def table(path: Path) -> dict[str, str]:
    """Constant name → literal, read without running the file."""
    values: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call):  # const(...)
                value = value.args[0]
            values[node.targets[0].id] = repr(ast.literal_eval(value))
    return values


def tables(root: Path) -> dict[str, dict[str, str]]:
    """Module name → its table, of all modules of constants. `root` is the firmware's folder."""
    return {name: table(root / path) for name, path in MODULES.items()}


def inline(source: str, constants: dict[str, dict[str, str]]) -> str:
    """The source with `wire.NAME` and the like replaced and the imports gone; lines stay where they
    are.

    Raises KeyError for a name that its module does not have.
    """
    for module, values in constants.items():
        if re.search(rf"\b{module}\b", source):
            source = _without(source, module, values)
    return source


def _without(source: str, module: str, values: dict[str, str]) -> str:
    def without_import(match: re.Match[str]) -> str:
        names = [name for name in re.split(r",\s*", match["names"]) if name != module]
        kept = f"from lib import {', '.join(names)}" if names else "pass"
        return match[1] + kept

    source = _IMPORT.sub(without_import, source)
    return re.sub(rf"\b{module}\.([A-Z][A-Z0-9_]*)\b", lambda m: values[m[1]], source)
