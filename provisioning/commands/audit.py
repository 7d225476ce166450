"""`tally station audit`: export and verify the log of sensitive acts."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TextIO

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import RefusedError
from tallystick.common.groups import Group
from tallystick.provisioning.audit import verify as check
from tallystick.provisioning.commands.options import journal_option
from tallystick.provisioning.journal import StationJournal


@click.group(cls=Group)
def audit() -> None:
    """The log of sensitive acts: who did what to which card, in a chain of hashes."""


@audit.command()
@journal_option
def export(journal: Path) -> None:
    """Print the log as JSON lines; note the head elsewhere."""
    lines = _lines(journal)
    for line in lines:
        click.echo(line)
    err().print(f"[dim]{len(lines)} entries, head {check(lines).head}[/]")


@audit.command()
@click.argument("file", type=click.File("r"), required=False)
@click.option("--head", help="Hash of the last entry, as noted elsewhere.")
@journal_option
@json_option
def verify(file: TextIO | None, head: str | None, journal: Path, as_json: bool) -> None:
    """Check an exported FILE (- is stdin), or without one this station's own log."""
    lines = file.read().splitlines() if file is not None else _lines(journal)
    verdict = check(lines, head)
    if as_json:
        print_json({"entries": verdict.entries, "head": verdict.head, "problems": verdict.problems})
    else:
        out().print(f"{verdict.entries} entries, head {verdict.head}")
        for problem in verdict.problems:
            err().print(f"[red]{problem}[/]")
    if verdict.problems:
        raise RefusedError(
            f"The audit log is broken in {len(verdict.problems)} places.",
            kept="Nothing was changed by this check.",
            todo="Compare with an earlier export; what came before the first problem is sound.",
        )
    if head is None and sys.stderr.isatty():
        err().print("[dim]Give --head to notice a missing end.[/]")


def _lines(path: Path) -> list[str]:
    with closing(StationJournal(path)) as journal:
        return journal.audit_log()
