"""What the opinion of the reader looks like."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from tallystick.common import console
from tallystick.tools.second_opinion.reader_opinion import BOARD, ReaderOpinion, ReaderStep


def as_dict(opinion: ReaderOpinion) -> dict[str, Any]:
    return {
        "board": BOARD,
        "agrees": opinion.agrees,
        "same_random": opinion.same_random,
        "steps": [_step_as_dict(step) for step in opinion.steps],
    }


def _step_as_dict(step: ReaderStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "agrees": step.agrees,
        "differences": step.differs,
        "cpu_ms": round(step.cpu_us / 1000, 2),
        "other_cpu_ms": round(step.other_cpu_us / 1000, 2),
    }


def show(opinion: ReaderOpinion) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "CPU ms", "other's CPU ms"):
        table.add_column(heading, justify="right" if "ms" in heading else "left")
    for step in opinion.steps:
        mark = "" if step.agrees else "[red]✗ [/]"
        figures = (f"{us / 1000:,.1f}" for us in (step.cpu_us, step.other_cpu_us))
        table.add_row(f"{mark}{step.name}", *figures)
    out = console.out()
    out.print(table)
    for step in opinion.steps:
        for difference in step.differs:
            out.print(f"[red]✗[/] {step.name}: {difference}")
    if opinion.agrees:
        what = "byte for byte" if opinion.same_random else "in order, kind and status"
        out.print(
            f"[dim]Descriptors, answers, bytes to the sensor and flash are the same {what} in all "
            f"{len(opinion.steps)} steps.[/]"
        )
    if not opinion.same_random:
        out.print("[dim]For byte by byte, give the .elf: it tells where chance is drawn.[/]")
