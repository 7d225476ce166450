"""`tally station report`: what was done, of a batch or in a shift."""

from __future__ import annotations

import time
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click

from tallystick.common.console import err
from tallystick.common.errors import BadInputError
from tallystick.provisioning.commands.options import FILE, journal_option
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.report import as_csv, as_html, of_batch, of_time

_TIMES = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]


@click.command()
@click.option("--batch", metavar="NAME", help="Of this batch.")
@click.option(
    "--since", type=click.DateTime(_TIMES), metavar="TIME", help="Of a shift that began then."
)
@click.option(
    "--until", type=click.DateTime(_TIMES), metavar="TIME", help="And ended then, else now."
)
@click.option("--output", type=FILE, required=True, help="FILE.html or FILE.csv")
@journal_option
def report(
    *,
    batch: str | None,
    since: datetime | None,
    until: datetime | None,
    output: Path,
    journal: Path,
) -> None:
    """Write what was done: cards, who did what, and the entries of the audit log.

    TIME is of this computer's zone, as 2026-05-01 or 2026-05-01 08:00.
    """
    if (batch is None) == (since is None):
        raise click.UsageError("Give either --batch, or --since.")
    write = {".html": as_html, ".csv": as_csv}.get(output.suffix.lower())
    if write is None:
        raise BadInputError(
            f"{output} is none of the formats of a report.", todo="End its name in .html or .csv."
        )
    with closing(StationJournal(journal)) as book:
        if since is not None:
            end = until.astimezone().timestamp() if until is not None else time.time()
            made = of_time(book, since.astimezone().timestamp(), end)
        else:
            made = of_batch(book, str(batch))
    if not made.runs and not made.entries:
        raise BadInputError(f"{made.title}: nothing was done.", todo="Choose another.")
    output.write_text(write(made), encoding="utf-8")
    err().print(f"{len(made.entries)} entries in {output}", markup=False, highlight=False)
