"""`tally bench`: measure, beside an aim and a peer."""

from __future__ import annotations

import importlib
from typing import Any

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import ExitCode, TallyError

# name → module with `measure() -> list of {"name", "value", "unit", "aim", "peer"}`
BENCHES = {
    "battery": "tallystick.tools.bench.battery",
    "card": "tallystick.tools.bench.card",
    "crowd": "tallystick.tools.bench.server_crowd",
    "fleet": "tallystick.tools.bench.fleet",
    "growth": "tallystick.tools.bench.server_growth",
    "heap": "tallystick.tools.bench.heap",
    "install": "tallystick.tools.bench.install",
    "provision": "tallystick.tools.bench.provision",
    "reader": "tallystick.tools.bench.reader",
    "server": "tallystick.tools.bench.server_verify",
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
@console.json_option
def bench(names: tuple[str, ...], as_json: bool) -> None:
    """Measure everything, or what is NAMEd. Figures depend on the machine and on what else it
    does.
    """
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    with console.progress(disable=as_json) as progress:
        chosen = names or tuple(BENCHES)
        task = progress.add_task("measuring", total=len(chosen))
        for name in chosen:
            progress.update(task, description=f"measuring {name}")
            try:
                rows += importlib.import_module(BENCHES[name]).measure()
            except Exception as error:
                failed.append(f"{name}: {error}")
            progress.advance(task)
    if as_json:
        console.print_json(rows)
    else:
        console.out().print(_table(rows))
    if failed:
        what = f"Not measured: {'; '.join(failed)}."
        console.print_error(TallyError(what, kept="The other figures are on standard output."))
        raise SystemExit(ExitCode.FAILED)


def _grouped(value: Any) -> str:
    """1234567.8 as 1,234,567.8."""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "value", "unit", "aim", "peer"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for row in rows:
        shown = row | {"value": _grouped(row["value"])}
        table.add_row(*(str(shown[key]) for key in ("name", "value", "unit", "aim", "peer")))
    return table
