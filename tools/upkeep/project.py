"""The checkout, as the tools of this folder see it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallystick.common.console import print_error
from tallystick.common.errors import BadInputError, TallyError


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


def judged(faults: Callable[[], list[str]], *, todo: str) -> int:
    """Says what a check found, and what to do. → the exit status"""
    try:
        if found := faults():
            raise BadInputError("\n".join(found), todo=todo)
    except TallyError as error:
        print_error(error)
        return int(error.exit_code)
    return 0
