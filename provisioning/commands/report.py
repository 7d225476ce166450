"""`tally station report`: what was done, of a batch or in a shift."""

from __future__ import annotations

import datetime
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.table import Table

from tallystick.common import moments
from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError
from tallystick.common.moments import LocalTime, OwnZone, parse_past
from tallystick.provisioning.commands.options import FILE, journal_option
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.report import as_csv, as_html, of_batch, of_days, of_time


def _zone(context: click.Context, option: click.Parameter, name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter("is no time zone of the IANA database, as Europe/Oslo") from None


zone_option = click.option(
    "--zone",
    metavar="NAME",
    callback=_zone,
    help="Time zone of the report (default: the firm's, as its server last said).",
)


@click.command()
@click.option("--batch", metavar="NAME", help="Of this batch.")
@click.option("--since", metavar="TIME", help="Of a shift that began then.")
@click.option("--until", metavar="TIME", help="And ended then, else now.")
@zone_option
@click.option("--output", type=FILE, required=True, help="FILE.html or FILE.csv")
@journal_option
def report(
    *,
    batch: str | None,
    since: str | None,
    until: str | None,
    zone: ZoneInfo | None,
    output: Path,
    journal: Path,
) -> None:
    """Write what was done: cards, who did what, and the entries of the audit log.

    TIME is of the firm's zone: today, yesterday 22:00, Monday 8:00, 8h (ago) or
    2026-05-01 08:00.
    """
    if (batch is None) == (since is None):
        raise click.UsageError("Give either --batch, or --since.")
    write = {".html": as_html, ".csv": as_csv}.get(output.suffix.lower())
    if write is None:
        raise BadInputError(
            f"{output} is none of the formats of a report.", todo="End its name in .html or .csv."
        )
    with closing(StationJournal(journal)) as book:
        zone = zone or book.firm().zone
        if since is not None:
            here = LocalTime(moments.now(), zone or OwnZone(), datetime.time(18))
            end = parse_past(until, here, end=True) if until is not None else here.now
            made = of_time(book, parse_past(since, here), end, zone)
        else:
            made = of_batch(book, str(batch), zone)
    if not made.runs and not made.entries:
        raise BadInputError(f"{made.title}: nothing was done.", todo="Choose another.")
    output.write_text(write(made), encoding="utf-8")
    err().print(f"{len(made.entries)} entries in {output}", markup=False, highlight=False)


@click.command()
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="The last so many."
)
@zone_option
@journal_option
@json_option
def statistics(*, days: int, zone: ZoneInfo | None, journal: Path, as_json: bool) -> None:
    """How many cards this station made, day by day, and how many failed, and why."""
    with closing(StationJournal(journal)) as book:
        made = of_days(book, days, moments.now(), zone or book.firm().zone)
    if as_json:
        print_json(asdict(made))
        return
    table = Table("day", "in service", "failed", box=None, pad_edge=False)
    for day in made.days:
        if day.finished or day.failed:
            table.add_row(day.day, str(day.finished), str(day.failed))
    table.add_row("all", str(made.finished), str(made.failed), style="bold")
    out().print(table)
    for reason, count in made.reasons:
        out().print(f"{count} × {reason}", markup=False, highlight=False)
