"""`tally coverage`: what a suite executed of the firmware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import ExitCode
from tallystick.common.ranges import RealRange
from tallystick.tools.coverage import collect

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_PATH)
@click.option(
    "--data",
    type=_PATH,
    default=Path(".coverage.firmware"),
    show_default=True,
    help="Where the merged data go.",
)
@click.option("--lcov", type=_PATH, help="Also write an lcov tracefile.")
@click.option("--html", type=_PATH, help="Also write pages with the sources into this folder.")
@click.option("--only", default="", help="Report only files whose path begins with this (card/).")
@click.option("--fail-under", type=RealRange(0, 100), default=0.0, help="Percent.")
@console.json_option
def coverage(
    folder: Path, data: Path, lcov: Path | None, html: Path | None, only: str, fail_under: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Merge what all processes of a run left in FOLDER, and report it.

    Measure with: TALLY_COVERAGE=FOLDER pytest. The data file is coverage.py's own.
    """
    collect.write(folder, data, lcov)
    if html is not None:
        collect.html(data, html)
    every = {
        path: figures
        for path, figures in collect.summary(folder).items()
        if path.startswith(tuple(only.split(",")))
    }
    total = sum(figures[0] for figures in every.values())
    done = sum(figures[1] for figures in every.values())
    percent = 100 * done / max(1, total)
    if as_json:
        files: dict[str, Any] = {
            path: {"statements": figures[0], "executed": figures[1], "missing": figures[2]}
            for path, figures in every.items()
        }
        console.print_json({"percent": round(percent, 2), "files": files})
    else:
        table = Table(box=None, pad_edge=False)
        for heading in ("file", "lines", "executed", "", "missing"):
            table.add_column(heading, justify="left" if heading in ("file", "missing") else "right")
        for path, (lines, executed, missing) in every.items():
            table.add_row(
                path, str(lines), str(executed), f"{executed / lines:.0%}",
                " ".join(map(str, missing[:20])),
            )  # fmt: skip
        console.out().print(table)
        console.out().print(f"\n{done} of {total} lines, {percent:.1f} %")
    if percent < fail_under:
        console.err().print(f"below {fail_under:g} %")
        raise SystemExit(ExitCode.FAILED)
