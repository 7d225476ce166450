"""`tally campaign proof`: every state of the card's journal, or the reader's records, on a small
flash."""

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

_TORN = 2  # in a row; three lose the journal's state


@click.command()
@click.option(
    "--of",
    "store",
    type=click.Choice(("journal", "records")),
    default="journal",
    show_default=True,
    help="The card's journal, or the reader's records.",
)
@click.option("--factory", is_flag=True, help="Begin with the first start of all.")
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
@click.option(
    "--torn",
    type=click.IntRange(0, 9),
    help="Operations torn in a row, before a start comes to its end.  [default: 2 of the journal, "
    "any number of the records]",
)
@click.option("--any", "endless", is_flag=True, help="Any number of them, of the journal too.")
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
    torn: int | None,
    endless: bool,
    limit: int | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Visit a store's states, for any number of cuts, until no new one appears.

    Exit status 0 when nothing is broken; `closed` says whether all states were visited, `assumed`
    what may happen.
    """
    if endless and torn is not None:
        raise BadInputError("--torn and --any contradict each other.", todo="Leave one out.")
    assumed: dict[str, int | bool | None] = {"sectors": sectors, "slots": slots}
    if store == "records":
        if wears or rots or replaces or leaps:
            raise BadInputError(
                "Records are visited without wear, rot and what gives way; --leaps is always so.",
                todo="Leave those options out.",
            )
        assumed |= {"torn": torn, "reserve": max(1, sectors - 2), "new": factory}
        records = RecordsWorld(
            Library(root),
            sectors=sectors, slots=slots, torn=torn, reserve=max(1, sectors - 2), new=factory,
        )  # fmt: skip
        _visit(records, limit, as_json, lambda: {"full": len(records.full)}, assumed)
        return
    if torn is None and not endless:
        torn = _TORN
    assumed |= {"torn": torn, "new": factory, "wears": wears, "rots": rots}
    assumed |= {"replaces": replaces, "leaps": leaps}
    world = JournalWorld(
        Library(root),
        sectors=sectors, slots=slots, torn=torn, wears=wears, rots=rots, replaces=replaces,
        leaps=leaps, new=factory,
    )  # fmt: skip
    _visit(world, limit, as_json, dict, assumed)


def _visit(
    world: World[S],
    limit: int | None,
    as_json: bool,
    more: Callable[[], dict[str, int]],
    assumed: dict[str, int | bool | None],
) -> None:
    """assumed: what may happen, and on which flash."""
    began = time.perf_counter()
    columns = (TextColumn("{task.description}"),)
    console = err()
    with Progress(*columns, console=console, transient=True, disable=as_json) as bar:
        task = bar.add_task("")

        def tell(done: int, waiting: int) -> None:
            bar.update(task, description=f"{done} states visited, {waiting} waiting")

        found = visit(world, limit, tell)
    row = {
        **asdict(found),
        **more(),
        "assumed": assumed,
        "seconds": round(time.perf_counter() - began, 1),
    }
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
