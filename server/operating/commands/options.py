"""Options and output that the commands of `tally server` share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from tallystick.common.console import out
from tallystick.common.errors import BadInputError
from tallystick.common.moments import in_words

F = TypeVar("F", bound=Callable[..., Any])

db_option = click.option(
    "--db",
    metavar="URL",
    help="Database: sqlite:///FILE or postgresql+psycopg://… (default: $TALLY_SERVER_DB, "
    "else a file in your data folder).",
)
key_option = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The server's own keys (default: a file in your configuration "
    "folder). Made at the first start.",
)


def firm_option(what: str) -> Callable[[F], F]:
    """what: help, of what belongs to the firm."""
    return click.option("--firm", "firm_name", default="default", show_default=True, help=what)


def environment(file: Path) -> None:
    """Take the settings of a service's environment file, for this process. Raises BadInputError."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"{file} cannot be read: {type(error).__name__}.",
            kept="Nothing was done.",
            todo="Run this as the server's user, or as root.",
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise BadInputError(
                f"Line {number} of {file} is not NAME=VALUE.",
                kept="Nothing was done.",
                todo="Write one setting a line, without quotes.",
            )
        if name.startswith("TALLY_SERVER_"):
            os.environ[name] = value.strip()


def table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, overflow="fold")  # whoever copies it needs all of it
    for row in rows:
        grid.add_row(*row)
    out().print(grid)


def date(seconds: Any, zone: str) -> str:
    """In the firm's time zone."""
    return in_words(seconds, ZoneInfo(zone)) if seconds else ""
