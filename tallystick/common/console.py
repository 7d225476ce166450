"""Output for people (standard error, colour only on a terminal) and machines (`--json`, standard
output). Everything that `tally` prints goes through here, so that the two never mix."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from tallystick.common.errors import TallyError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value on standard output."
)


def out() -> Console:
    """Console on standard output: the result a person asked for."""
    from tallystick.common.plain_console import PlainConsole  # noqa: PLC0415 - see there

    return PlainConsole(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> Console:
    """Console on standard error: progress, notes and errors."""
    from tallystick.common.plain_console import PlainConsole  # noqa: PLC0415 - see there

    return PlainConsole(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=False))


def print_error(error: TallyError) -> None:
    from rich.markup import escape  # noqa: PLC0415 - as in `out`

    console = err()
    console.print(f"[bold red]error:[/] {escape(error.what)}")
    if error.kept:
        console.print(f"  [dim]kept:[/] {escape(error.kept)}")
    if error.todo:
        console.print(f"  [dim]next:[/] {escape(error.todo)}")


def progress(*, disable: bool = False) -> Progress:
    """A progress bar on standard error, with rate-independent time left; hidden when not a
    terminal or when `disable` (as for `--json`)."""
    from rich.progress import (  # noqa: PLC0415 - most commands show none
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = err()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=disable or not console.is_terminal,
        transient=True,
    )
