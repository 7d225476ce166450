"""`tally second-opinion`: our image on an emulator that is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import ExitCode, TallyError
from tallystick.tools.second_opinion.costs import Cost, compare_costs
from tallystick.tools.second_opinion.opinion import BOARD, Opinion, compare
from tallystick.tools.second_opinion.parts import DISPLAY, END, FLASH

_PARTS = {DISPLAY: "to the display", FLASH: "to a write to flash", END: "to the end"}


@click.command("second-opinion")
@click.argument("uf2", type=click.Path(path_type=Path))
@click.option(
    "--presses",
    type=click.IntRange(1, 50),
    default=3,
    show_default=True,
    help="How many codes are compared.",
)
@click.option(
    "--costs",
    "measures",
    is_flag=True,
    help="Measure what the cost table charges (hashes, imports, boot …) in place of pressing.",
)
@console.json_option
def second_opinion(uf2: Path, presses: int, measures: bool, as_json: bool) -> None:
    """Boot the card's image on an RP2040 that is emulated instruction by instruction, under the
    MicroPython in UF2, press, read the codes from the display's bus, and compare with ours.
    """
    if measures:
        _show_costs(compare_costs(uf2, BOARD), as_json)
        return
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
                "agrees": step.agrees,
                "code": step.code,
                "other_code": step.other_code,
                "pixels_agree": step.pixels_agree,
                "cpu_ms": _ms(step.cpu_us),
                "other_cpu_ms": _ms(step.other_cpu_us),
                "parts": [
                    {
                        "to": part.to,
                        "cpu_ms": _ms(part.cpu_us),
                        "other_cpu_ms": _ms(part.other_cpu_us),
                    }
                    for part in step.parts
                ],
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
            step.name if step.agrees else f"[red]{step.name}[/]",
            step.code or "",
            step.other_code or "",
            f"{_ms(step.cpu_us):.2f}",
            f"{_ms(step.other_cpu_us):.2f}",
        )
        for part in step.parts:
            both = (_ms(part.cpu_us), _ms(part.other_cpu_us))
            table.add_row(
                f"  {_PARTS[part.to]}", "", "",
                *("never" if ms is None else f"{ms:.2f}" for ms in both), style="dim",
            )  # fmt: skip
    console.out().print(table)
    pixels = all(step.pixels_agree for step in opinion.steps)
    for what, same in (
        ("pictures on the displays", pixels),
        ("journals in flash", opinion.journal_agrees),
    ):
        console.out().print(
            f"[dim]The {what} are {'the same' if same else '[red]not the same[/]'}.[/]"
        )


def _show_costs(costs: list[Cost], as_json: bool) -> None:
    if as_json:
        figures = [
            {"name": cost.name, "us": cost.us, "other_us": round(cost.other_us, 1)}
            for cost in costs
        ]
        console.print_json({"board": BOARD, "costs": figures})
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("work")
    table.add_column("charged, µs", justify="right")
    table.add_column("measured, µs", justify="right")
    for cost in costs:
        table.add_row(cost.words, f"{cost.us:,.1f}", f"{cost.other_us:,.1f}")
    console.out().print(table)


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 2)
