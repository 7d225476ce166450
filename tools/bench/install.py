"""What an installation of the emulator takes: this distribution and all it asks for, without
extras."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from tallystick.tools.bench.row import row

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def measure() -> list[dict[str, Any]]:
    """MB on disk, as the installed distributions list their files."""
    needed = _closure("tallystick")
    size = sum(_size(one) for one in needed) / 1e6
    return [row("install: the emulator and what it needs", round(size, 1), "MB", "≤ 60")]


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


def _size(one: Distribution) -> int:
    total = 0
    for file in one.files or []:
        path = one.locate_file(file)
        try:
            total += path.stat().st_size  # type: ignore[attr-defined]
        except OSError:
            continue
    return total
