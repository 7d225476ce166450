"""Options that several commands have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tallystick.common.ranges import RealRange
from tallystick.emulator import boards
from tallystick.emulator.interpreter import link

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


loop_limit = click.option(
    "--loop-limit",
    type=RealRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="End a firmware that works for so long without touching hardware.",
)


def set_loop_limit(seconds: float) -> None:
    """What `loop_limit` gave holds for every device of this process from now on."""
    link.SILENCE_S = seconds


def one_board(what: str) -> Option:
    """`--board`, with the card's usual one if none is named."""
    return click.option("--board", default=boards.DEFAULT, show_default=True, help=what)


def some_boards(known: Sequence[str], default: Sequence[str]) -> Option:
    """`--board`, which may be given again: any of the known ones, by default some of them."""
    return click.option(
        "--board",
        "boards",
        multiple=True,
        type=click.Choice(known),
        default=default,
        show_default=True,
        help="On this board; again for another.",
    )


def seed(default: int = 0, what: str = "Fixes every random choice.") -> Option:
    return click.option(
        "--seed",
        default=default,
        show_default=True,
        type=click.IntRange(0),
        help=what,
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


state = click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file that remembers how far it came: the next call goes on from there.",
)
