"""`tally station resume` and `tally station reconcile`."""

from __future__ import annotations

from contextlib import nullcontext

import click

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import TallyError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.commands.card import one_card, print_outcome
from tallystick.provisioning.commands.options import BenchOptions, bench_options
from tallystick.provisioning.foreign import BATCH as FOREIGN
from tallystick.provisioning.recovery import (
    Discrepancy,
    Reconciliation,
    finish_without_card,
    repair,
)
from tallystick.provisioning.steps import Plan


@click.command()
@click.option("--port", metavar="DEV", help="Port of the dock; without it, what needs no card.")
@bench_options
@json_option
def resume(*, port: str | None, station: BenchOptions, as_json: bool) -> None:
    """Finish cards that stopped half-way, with the same seeds."""
    with station.open() as ready:
        records = ready.journal.unfinished()
        if not records:
            if as_json:
                print_json([])
            err().print("The journal has no card that stopped half-way: nothing is to be done.")
            return
        if port is not None:
            plan = Plan(only=frozenset(record.serial for record in records))
            print_outcome(one_card(ready, port, plan), as_json)
            return
        ready.registry.check()
        waiting = finish_without_card(ready.journal, ready.registry, ready.server_url)
        if as_json:
            print_json([{"serial": record.serial, "state": record.state} for record in waiting])
        for record in () if as_json else waiting:
            todo = (
                "repeat `tally station foreign`"
                if record.batch == FOREIGN
                else "put it in the dock"
            )
            out().print(f"card {record.serial}: '{record.state}', {todo}", markup=False)
        err().print("[dim]Finish each with `tally station resume --port DEV`.[/]")


@click.command()
@click.option("--port", metavar="DEV", help="Look at the card on this port, too.")
@click.option("--yes", is_flag=True, help="Repair without asking.")
@bench_options
@json_option
def reconcile(*, port: str | None, yes: bool, station: BenchOptions, as_json: bool) -> None:
    """Compare journal, server and the card at hand, and repair with consent."""
    with station.open() as ready:
        ready.registry.check()
        with CardConnection.open(port) if port is not None else nullcontext() as connection:
            reconciliation = Reconciliation(
                ready.custody, ready.registry, ready.journal, ready.server_url, connection
            )
            findings = reconciliation.findings()
            for finding in findings:
                _offer(finding, yes=yes, ask=not as_json)
                if finding.repaired:
                    ready.journal.note("repaired", finding.serial, finding.problem)
    if as_json:
        print_json([_as_json(finding) for finding in findings])
    elif not findings:
        out().print("journal, server and card agree")
    left = sum(not finding.repaired for finding in findings)
    if left:
        raise TallyError(
            f"{left} of {len(findings)} disagreements are left.",
            kept="What was not repaired is as it was.",
            todo="Do what is advised for each card, then run this again.",
        )


def _offer(finding: Discrepancy, *, yes: bool, ask: bool) -> None:
    console = err()
    console.print(f"card {finding.serial}: {finding.problem}", markup=False)
    if finding.repair is None:
        console.print(f"  advice: {finding.advice}", markup=False)
        return
    if not yes and not (ask and click.confirm(f"  {finding.advice}?", err=True)):
        return
    error = repair(finding)
    console.print("  [green]repaired[/]" if error is None else f"  [red]not repaired:[/] {error}")


def _as_json(finding: Discrepancy) -> dict[str, str | bool]:
    return {
        "serial": finding.serial,
        "problem": finding.problem,
        "advice": finding.advice,
        "can_repair": finding.repair is not None,
        "repaired": finding.repaired,
    }
