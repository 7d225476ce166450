"""Output for people (standard error, colour only on a terminal) and machines (`--json`, standard
output). Everything that `tally` prints goes through here, so that the two never mix."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from tallystick.common.errors import TallyError

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value on standard output."
)


def out() -> Console:
    """Console on standard output: the result a person asked for."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> Console:
    """Console on standard error: progress, notes and errors."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=False))


def print_error(error: TallyError) -> None:
    console = err()
    console.print(f"[bold red]error:[/] {escape(error.what)}")
    if error.kept:
        console.print(f"  [dim]kept:[/] {escape(error.kept)}")
    if error.todo:
        console.print(f"  [dim]next:[/] {escape(error.todo)}")


def progress(*, disable: bool = False) -> Progress:
    """A progress bar on standard error, with rate-independent time left; hidden when not a
    terminal or when `disable` (as for `--json`)."""
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
