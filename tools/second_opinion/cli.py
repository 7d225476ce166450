"""`tally second-opinion`: our image on chips that are emulated by others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import BadInputError, ExitCode, TallyError
from tallystick.tools.second_opinion.chips import BOARDS
from tallystick.tools.second_opinion.costs import Cost, compare_costs
from tallystick.tools.second_opinion.opinion import Opinion, Step, compare
from tallystick.tools.second_opinion.scenario import STEPS

READER = "pico2"
_MANY_PARTS = 8  # more than these are in the report only


@click.command("second-opinion")
@click.argument("firmware", type=click.Path(path_type=Path))
@click.option(
    "--board",
    type=click.Choice([*BOARDS, READER]),
    default="pico",
    show_default=True,
    help="The board that FIRMWARE is for.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, len(STEPS)),
    default=len(STEPS),
    help="Only the first so many steps (of a reader as many as it has).",
)
@click.option(
    "--costs",
    "measures",
    is_flag=True,
    help="Measure what the cost table charges (hashes, imports, boot …) in place of pressing.",
)
@console.json_option
def second_opinion(firmware: Path, board: str, steps: int, measures: bool, as_json: bool) -> None:
    """Boot the card's image on a chip that is emulated instruction by instruction, under the
    MicroPython in FIRMWARE (.uf2; for nucleo_l476rg .hex or .bin; with RP2350 best the .elf, whose
    symbols let both draw the same random numbers), press it, provision it, update it, cut its
    power, and compare everything with our emulator: pictures, what went over each bus, answers,
    flash, CPU time. With --board pico2 it is the reader: it enumerates, enrols a finger, registers,
    logs in.
    """
    if board == READER:
        _reader(firmware, steps, measures, as_json)
        return
    if measures:
        _show_costs(compare_costs(firmware, board), board, as_json)
        return
    with console.progress(disable=as_json) as progress:
        task = progress.add_task("starting", total=steps)
        opinion = compare(
            firmware,
            board,
            lambda step: progress.update(task, advance=1, description=step.name),
            steps,
        )
    if as_json:
        console.print_json(as_dict(opinion))
    else:
        _show(opinion)
    _end(agrees=opinion.agrees)


def _reader(firmware: Path, steps: int, measures: bool, as_json: bool) -> None:
    from tallystick.tools.second_opinion import reader_opinion, reader_report

    if measures:
        raise BadInputError(
            "--costs is measured on a card's board.", todo="Use --board pico2_card: the same chip."
        )
    with console.progress(disable=as_json) as progress:
        task = progress.add_task("starting", total=min(steps, len(reader_opinion.STEPS)))
        opinion = reader_opinion.compare_readers(
            firmware, lambda step: progress.update(task, advance=1, description=step.name), steps
        )
    if as_json:
        console.print_json(reader_report.as_dict(opinion))
    else:
        reader_report.show(opinion)
    _end(agrees=opinion.agrees)


def _end(*, agrees: bool) -> None:
    if not agrees:
        console.print_error(
            TallyError(
                "The two emulators do not agree.",
                todo="The first step that differs says where; run it with --json for a report.",
            )
        )
        raise SystemExit(ExitCode.FAILED)


def as_dict(opinion: Opinion) -> dict[str, Any]:
    return {
        "board": opinion.board,
        "agrees": opinion.agrees,
        "steps": [_step_as_dict(step) for step in opinion.steps],
    }


def _step_as_dict(step: Step) -> dict[str, Any]:
    return {
        "name": step.name,
        "agrees": step.agrees,
        "differences": step.differences,
        "against_a_data_sheet": step.ours.errors,
        "result": step.ours.result,
        "other_result": step.other.result,
        "cpu_ms": _ms(step.ours.cpu_us),
        "other_cpu_ms": _ms(step.other.cpu_us),
        "duration_ms": _ms(step.ours.duration_us),
        "other_duration_ms": _ms(step.other.duration_us),
        "parts": [
            {"to": part.to, "cpu_ms": _ms(part.cpu_us), "other_cpu_ms": _ms(part.other_cpu_us)}
            for part in step.parts
        ],
    }


def _show(opinion: Opinion) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "came of it", "CPU ms", "other's CPU ms"):
        table.add_column(heading, justify="right" if "ms" in heading else "left")
    for step in opinion.steps:
        mark = "" if step.agrees else "[red]✗ [/]"
        table.add_row(
            f"{mark}{step.name}",
            step.ours.result,
            f"{step.ours.cpu_us / 1000:,.1f}",
            f"{step.other.cpu_us / 1000:,.1f}",
        )
        for part in step.parts if 1 < len(step.parts) <= _MANY_PARTS else []:
            both = (_ms(part.cpu_us), _ms(part.other_cpu_us))
            words = ("never" if ms is None else f"{ms:,.1f}" for ms in both)
            table.add_row(f"  to the {part.to}", "", *words, style="dim")
    out = console.out()
    out.print(table)
    for step in opinion.steps:
        for difference in step.differences:
            out.print(f"[red]✗[/] {step.name}: {difference}")
        for fault in step.ours.errors:
            out.print(f"[yellow]![/] {step.name}, on both: {fault}")
    if opinion.agrees:
        out.print(
            f"[dim]Pictures, buses, answers and flash are the same in all {len(opinion.steps)} "
            "steps.[/]"
        )


def _show_costs(costs: list[Cost], board: str, as_json: bool) -> None:
    if as_json:
        figures = [
            {"name": cost.name, "us": cost.us, "other_us": round(cost.other_us, 1)}
            for cost in costs
        ]
        console.print_json({"board": board, "costs": figures})
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
