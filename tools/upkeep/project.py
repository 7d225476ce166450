"""The checkout, as the tools of this folder see it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tallystick.common.errors import BadInputError


def root() -> Path:
    """The checkout's top folder, of the working directory. Raises BadInputError outside one."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "pyproject.toml").exists() and (folder / "requirements").is_dir():
            return folder
    raise BadInputError("This is no checkout of Tallystick.", todo="Go to its top folder.")


def settings(folder: Path, tool: str) -> dict[str, Any]:
    """The table [tool.tallystick.<tool>] of pyproject.toml."""
    with (folder / "pyproject.toml").open("rb") as file:
        found: dict[str, Any] = tomllib.load(file)["tool"]["tallystick"][tool]
    return found
