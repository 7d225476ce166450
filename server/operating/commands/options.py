"""Options and output that the commands of `tally server` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from tallystick.common.console import out
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


def table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading)
    for row in rows:
        grid.add_row(*row)
    out().print(grid)


def date(seconds: Any, zone: str) -> str:
    """In the firm's time zone."""
    return in_words(seconds, ZoneInfo(zone)) if seconds else ""
