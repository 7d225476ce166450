"""`tally campaign ctap`: every command of the reader, in every order, from two programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools import options
from tallystick.tools.campaign.ctap.alphabet import LARGE, LETTERS, REDUCED
from tallystick.tools.campaign.ctap.walk import Walker, WalkPlan, WalkTally, Way, run
from tallystick.tools.campaign.engine.subject import ViolationError, image_under_test

_BOARD = boards.DEFAULT_READER
_DEPTH = 4
_WALKS, _FULL_WALKS = 400, 4000


def _bar(*, disable: bool) -> Progress:
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[transitions]} transitions"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=disable or not console.is_terminal,
    )


@click.command()
@click.option(
    "--full",
    is_flag=True,
    help="The large alphabet: more than 2,000,000 transitions; the host works out P-256.",
)
@click.option(
    "--depth", default=_DEPTH, show_default=True, type=click.IntRange(0, 5),
    help="Letters of the ways that are all walked; 0: none.",
)  # fmt: skip
@click.option("--walks", type=click.IntRange(0), help="Long ways drawn by chance.")
@click.option("--letters", help="LETTER,LETTER,… instead of the alphabet.")
@options.seed(1, "Of the long ways.")
@click.option("--jobs", default=0, type=click.IntRange(0), help="Processes (0: all processors).")
@options.state
@click.option("--replay", "line", help="Go one way, LETTER,LETTER,…, and say what comes of it.")
@click.option("--list", "listing", is_flag=True, help="List the letters.")
@json_option
def ctap(
    *, full: bool, depth: int, walks: int | None, letters: str | None, seed: int, jobs: int,
    state: Path | None, line: str | None, listing: bool, as_json: bool,
) -> None:  # fmt: skip
    """Run a model of CTAP against the reader's firmware.

    All ways of four letters through an alphabet of commands, by two programs, with a person who
    touches the reader or does not, unplugging and waiting; then long ways drawn by chance. Each
    answer is judged by what CTAP 2.1 says. Two programs are A and B.
    """
    if listing:
        for name in LETTERS:
            out().print(name)
        return
    image = image_under_test("reader", _BOARD, None, readable=line is not None)
    if line is not None:
        _replay(image, _way(line), as_json)
        return
    alphabet = _way(letters) if letters else LARGE if full else REDUCED
    drawn = walks if walks is not None else _FULL_WALKS if full else _WALKS
    tally = WalkTally()
    try:
        with _bar(disable=as_json) as bar:
            shown = bar.add_task("ctap", total=None, transitions=0)
            plan = WalkPlan(alphabet, depth, drawn, seed=seed, quick=full)
            for done, total, tally in run(image, plan, jobs, state):
                bar.update(shown, completed=done, total=total, transitions=tally.transitions)
    except ViolationError as error:
        raise BadInputError(
            f"The reader does not come into service ({error.kind}): {error}",
            todo="tally emulate reader --control 0, and set a PIN and a finger by hand.",
        ) from error
    _tell(alphabet, depth, drawn, tally, as_json)
    if tally.violations:
        raise SystemExit(ExitCode.FAILED)


def _way(line: str) -> Way:
    """Raises BadInputError."""
    way = tuple(letter.strip() for letter in line.split(","))
    for letter in way:
        if letter not in LETTERS:
            raise BadInputError(
                f"There is no letter {letter!r}.", todo="tally campaign ctap --list"
            )
    return way


def _replay(image: Image, way: Way, as_json: bool) -> None:
    with resident.enabled():
        walker = Walker(image)
        try:
            found = walker.follow(way)
        finally:
            walker.close()
    if as_json:
        print_json(asdict(found) if found else {"way": way, "kind": "", "what": ""})
    elif found is None:
        out().print(f"{len(way)} letters, no violation")
    else:
        out().print(f"after {', '.join(found.way)}\n{found.kind}: {found.what}")
    if found is not None:
        raise SystemExit(ExitCode.FAILED)


def _tell(alphabet: Way, depth: int, walks: int, tally: WalkTally, as_json: bool) -> None:
    if as_json:
        value: dict[str, Any] = {
            "states": len(tally.states),
            "transitions": tally.transitions,
            "violations": tally.violations,
            "letters": len(alphabet),
            "depth": depth,
            "walks": walks,
            "found": [asdict(one) for one in tally.found],
        }
        print_json(value)
        return
    for one in tally.found:
        out().print(f"[red]{one.kind}[/]: {one.what}\n  --replay '{','.join(one.way)}'")
    out().print(
        f"{len(tally.states):,} states, {tally.transitions:,} transitions, "
        f"{tally.violations:,} violations"
    )
