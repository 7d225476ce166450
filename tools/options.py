"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click

from tallystick.emulator import boards

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

emulated_board = click.option(
    "--board", help=f"One of {', '.join(boards.BOARDS)} (default: {boards.DEFAULT})."
)
jobs = click.option(
    "--jobs", default=0, type=click.IntRange(0), help="Processes (0: all processors)."
)
run_length = click.option(
    "--count",
    type=click.IntRange(1, 1_000_000),
    default=1,
    show_default=True,
    help="Length of the run.",
)


def one_board(what: str) -> Option:
    """`--board`, with the card's usual one if none is named."""
    return click.option("--board", default=boards.DEFAULT, show_default=True, help=what)


def some_boards(known: Sequence[str]) -> Option:
    """`--board`, which may be given again: by default all of them."""
    return click.option(
        "--board",
        "boards",
        multiple=True,
        type=click.Choice(known),
        default=known,
        show_default=True,
        help="Only on this board; again for another.",
    )


def seed(default: int = 0) -> Option:
    return click.option(
        "--seed",
        default=default,
        show_default=True,
        type=int,
        help="Fixes every random choice.",
    )


def workers(default: int) -> Option:
    return click.option(
        "--workers",
        default=default,
        show_default=True,
        type=click.IntRange(1, 64),
        help="Processes of the server.",
    )


def processes(wanted: int) -> int:
    """What `--jobs` means: 0 is as many as this process may use."""
    return wanted or len(os.sched_getaffinity(0))
