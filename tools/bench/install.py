"""What an installation of the emulator takes: this distribution and all it asks for, without
extras. Bytecode is a row of its own: pip makes it, unless it is told not to."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import tallystick
from tallystick.tools import firmware
from tallystick.tools.bench.row import row

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def measure() -> list[dict[str, Any]]:
    """MB on disk, as the installed distributions list their files. Of a checkout, which lists
    none, its own folders are measured."""
    paths = {path for one in _closure("tallystick") for path in _files(one)} | _own()
    # Of bytecode what this Python made for itself: neither pytest's nor that of other Pythons.
    ours = f".{sys.implementation.cache_tag}.pyc"
    paths = {path for path in paths if path.suffix != ".pyc" or path.name.endswith(ours)}
    plain, compiled = (
        sum(path.stat().st_size for path in paths if (path.suffix == ".pyc") is bytecode) / 1e6
        for bytecode in (False, True)
    )
    return [
        row("install: the emulator and what it needs", round(plain, 1), "MB", "≤ 60"),
        row("install: bytecode besides", round(compiled, 1), "MB", ""),
    ]


def _closure(name: str) -> list[Distribution]:
    """What is asked for with an extra, or for another platform, is not in it."""
    found: dict[str, Distribution] = {}
    todo = [name]
    while todo:
        match = _NAME.match(todo.pop())
        key = re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
        if not key or key in found:
            continue
        try:
            found[key] = distribution(key)
        except PackageNotFoundError:
            continue
        todo += [one for one in found[key].requires or [] if "extra ==" not in one]
    return list(found.values())


def _files(one: Distribution) -> set[Path]:
    found = (Path(str(one.locate_file(file))) for file in one.files or [])
    return {path.resolve() for path in found if path.is_file()}


def _own() -> set[Path]:
    package = Path(tallystick.__file__).resolve().parent
    folders = [package, firmware.root()]
    return {
        (Path(place) / name).resolve()
        for folder in folders
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
    }
