"""`tally second-opinion`: our image on an emulator that is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import ExitCode, TallyError
from tallystick.tools.second_opinion.opinion import BOARD, Opinion, compare


@click.command("second-opinion")
@click.argument("uf2", type=click.Path(path_type=Path))
@click.option("--presses", type=click.IntRange(1, 50), default=3, show_default=True)
@console.json_option
def second_opinion(uf2: Path, presses: int, as_json: bool) -> None:
    """Boot the card's image on an RP2040 that is emulated instruction by instruction, under the
    MicroPython in UF2, press, read the codes from the display's bus, and compare with ours.
    """
    with console.progress(disable=as_json) as progress:
        task = progress.add_task("starting", total=2 * presses + 1)
        opinion = compare(
            uf2, presses, lambda step: progress.update(task, advance=1, description=step.name)
        )
    if as_json:
        console.print_json(_as_dict(opinion))
    else:
        _show(opinion)
    if not opinion.agrees:
        console.print_error(
            TallyError(
                "The two emulators do not agree.",
                todo="The first row that differs says where; run it with --json for a report.",
            )
        )
        raise SystemExit(ExitCode.FAILED)


def _as_dict(opinion: Opinion) -> dict[str, Any]:
    return {
        "board": BOARD,
        "agrees": opinion.agrees,
        "journal_agrees": opinion.journal_agrees,
        "steps": [
            {
                "name": step.name,
                "code": step.code,
                "other_code": step.other_code,
                "cpu_ms": round(step.cpu_us / 1000, 2),
                "other_cpu_ms": round(step.other_cpu_us / 1000, 2),
            }
            for step in opinion.steps
        ],
    }


def _show(opinion: Opinion) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "code", "other's code", "CPU ms", "other's CPU ms"):
        table.add_column(heading, justify="right" if "ms" in heading else "left")
    for step in opinion.steps:
        table.add_row(
            step.name,
            step.code or "",
            step.other_code or "",
            f"{step.cpu_us / 1000:.2f}",
            f"{step.other_cpu_us / 1000:.2f}",
        )
    console.out().print(table)
    same = "the same" if opinion.journal_agrees else "[red]not the same[/]"
    console.out().print(f"[dim]The journals in flash are {same}.[/]")
