"""`tally campaign rollback`: old copies of the reader's flash and sensor, in every order."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import ExitCode
from tallystick.emulator import boards
from tallystick.tools import options
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.rollback.run import RollbackTally, run

_DEFAULT = 2_000


@click.command()
@click.option(
    "--write-backs", default=_DEFAULT, show_default=True, type=click.IntRange(1),
    help="Copies that are written back, at least.",
)  # fmt: skip
@options.seed(1, "Of the first thief.")
@click.option("--jobs", default=0, type=click.IntRange(0), help="Processes (0: all processors).")
@options.state
@json_option
def rollback(*, write_backs: int, seed: int, jobs: int, state: Path | None, as_json: bool) -> None:
    """Write old copies of the reader's flash and sensor back.

    Thieves copy the flash chip and the sensor's memory at any moment, write copies back, try wrong
    and old PINs and fingers, and cut the power of pulses that burn. No try may be gained, no
    removed finger and no old PIN may come back.
    """
    image = image_under_test("reader", boards.DEFAULT_READER, None, readable=False)
    tally = RollbackTally()
    console = err()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=as_json or not console.is_terminal,
    ) as bar:  # fmt: skip
        shown = bar.add_task("written back", total=write_backs)
        for tally in run(image, write_backs, seed, jobs, state):
            bar.update(shown, completed=min(write_backs, tally.write_backs))
    if as_json:
        print_json(tally.as_dict())
    else:
        _tell(tally)
    if tally.violations:
        raise SystemExit(ExitCode.FAILED)


def _tell(tally: RollbackTally) -> None:
    out().print(
        f"{tally.write_backs:,} copies written back by {tally.thieves:,} thieves; "
        f"{tally.wrong_pins:,} wrong PINs and {tally.wrong_fingers:,} wrong fingers compared, "
        f"{tally.cuts:,} cuts: {tally.violations} violations"
    )
    for one in tally.found:
        out().print(f"[red]✗[/] thief {one.seed}, after {', '.join(one.deeds)}: {one.what}")
