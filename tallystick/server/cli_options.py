"""Options and output that the commands of `tally server` share."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tallystick.common.console import out

db_option = click.option(
    "--db",
    metavar="URL",
    help="Database: sqlite:///FILE or postgresql+psycopg://… (default: $TALLY_SERVER_DB, "
    "else a file in your data folder).",
)
key_option = click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The server's own keys (default: beside an SQLite database). Made at the first start.",
)


def table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading)
    for row in rows:
        grid.add_row(*row)
    out().print(grid)


def date(seconds: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""
