"""`tally campaign proof`: the card's journal every state of it on a small flash."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
from rich.progress import Progress, TextColumn

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools.campaign.proof.journal import JournalWorld
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.records import RecordsWorld
from tallystick.tools.campaign.proof.search import S, World, visit


@click.command()
@click.option(
    "--of",
    "store",
    type=click.Choice(("journal", "records")),
    default="journal",
    show_default=True,
    help="The card's journal, or the reader's records.",
)
@click.option("--factory", is_flag=True, help="Of records: begin with a reader's first start.")
@click.option(
    "--sectors",
    default=3,
    show_default=True,
    type=click.IntRange(2, 4),
    help="Erase sectors.",
)
@click.option(
    "--slots", default=2, show_default=True, type=click.IntRange(2, 6), help="Of a sector."
)
@click.option("--wears", is_flag=True, help="One sector may wear out at any time.")
@click.option("--rots", is_flag=True, help="One bit of the newest record may flip.")
@click.option("--replaces", is_flag=True, help="States give way for good, too.")
@click.option(
    "--leaps",
    is_flag=True,
    help="A torn record may read as whole at one start, as blank at another.",
)
@click.option("--limit", type=click.IntRange(1), help="States to visit at most.")
@click.option(
    "--firmware",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another firmware folder.",
)
@json_option
def proof(
    *,
    store: str,
    factory: bool,
    sectors: int,
    slots: int,
    wears: bool,
    rots: bool,
    replaces: bool,
    leaps: bool,
    limit: int | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Visit a store's states, for any number of cuts in a row, until no new one appears.

    Exit status 0 when nothing is broken; `closed` says whether all states were visited.
    """
    if store == "records":
        if wears or rots or replaces or leaps:
            raise BadInputError(
                "Records are visited without wear, rot and what gives way; --leaps is always so.",
                todo="Leave those options out.",
            )
        records = RecordsWorld(
            Library(root), sectors=sectors, slots=slots, reserve=max(1, sectors - 2), new=factory
        )
        _visit(records, limit, as_json, lambda: {"full": len(records.full)})
        return
    world = JournalWorld(
        Library(root),
        sectors=sectors, slots=slots, wears=wears, rots=rots, replaces=replaces, leaps=leaps,
    )  # fmt: skip
    _visit(world, limit, as_json, dict)


def _visit(
    world: World[S], limit: int | None, as_json: bool, more: Callable[[], dict[str, int]]
) -> None:
    began = time.perf_counter()
    columns = (TextColumn("{task.description}"),)
    console = err()
    with Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("")

        def tell(done: int, waiting: int) -> None:
            bar.update(task, description=f"{done} states visited, {waiting} waiting")

        found = visit(world, limit, tell)
    row = {**asdict(found), **more(), "seconds": round(time.perf_counter() - began, 1)}
    if as_json:
        print_json(row)
    else:
        out().print(
            f"{found.states} states visited, {found.covered} covered by wider ones, "
            f"{found.runs} runs in {row['seconds']} s: "
            + ("no new state" if found.closed else "more were waiting")
        )
        for name, number in more().items():
            out().print(f"{number} {name}", style="dim")
        for step in found.way:
            out().print(f"  {step}", style="dim")
        out().print(f"[red]broken[/] {found.broken}" if found.broken else "nothing broken")
    if found.broken:
        raise SystemExit(ExitCode.FAILED)
