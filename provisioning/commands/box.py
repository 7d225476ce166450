"""`tally station box` and `stock`: cards that came in a box, by scanning their labels."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import click
from rich.table import Table

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import BadInputError, RefusedError
from tallystick.common.groups import Group
from tallystick.common.moments import in_words
from tallystick.provisioning.commands.options import journal_option, operator_option
from tallystick.provisioning.desk import operator
from tallystick.provisioning.desk.client import Desk
from tallystick.provisioning.journal import StationJournal
from tallystick.provisioning.labels.scanned import read_box, read_scan


@click.group(cls=Group)
def box() -> None:
    """Cards that came in a box, by scanning their labels."""


@box.command("scan")
@click.argument("name")
@click.argument("file", type=click.File("r"), required=False)
@journal_option
@json_option
def scan(*, name: str, file: TextIO | None, journal: Path, as_json: bool) -> None:
    """Scan the labels of box NAME one after another; an empty line ends it.

    The scanner is a keyboard. A FILE with a serial number a line does, too; - is stdin.
    """
    made = read_box(file if file is not None else _typed())
    if made.problems:
        raise BadInputError(
            f"{len(made.problems)} scans are no serial number of a card: "
            f"{', '.join(made.problems[:10])}.",
            kept="Nothing of the box was noted.",
            todo="Scan the box again: the code with the ten characters under it.",
        )
    if not made.serials:
        raise BadInputError("Nothing was scanned.", todo="Scan the labels of the box.")
    with closing(StationJournal(journal)) as book:
        known = book.put_into_box(name, made.serials)
    fresh = len(made.serials) - len(known)
    elsewhere = [f"{card.serial} (box {card.box})" for card in known if card.box != name]
    if as_json:
        print_json(
            {"box": name, "new": fresh, "twice": made.twice, "known": [asdict(c) for c in known]}
        )
        return
    out().print(f"box {name}: {fresh} cards noted", markup=False, highlight=False)
    if made.twice:
        err().print(f"scanned twice: {', '.join(made.twice)}", markup=False, highlight=False)
    if elsewhere:
        err().print(f"in another box already: {', '.join(elsewhere)}", style="yellow", markup=False)


@box.command("show")
@click.argument("name", required=False)
@journal_option
@json_option
def show(*, name: str | None, journal: Path, as_json: bool) -> None:
    """The cards of box NAME, or the boxes."""
    with closing(StationJournal(journal)) as book:
        cards, firm = book.boxed(name), book.firm()
    if name is not None and not cards:
        raise BadInputError(f"There is no box {name}.", todo="See `tally station box show`.")
    if as_json:
        print_json([asdict(card) | {"blank": card.blank} for card in cards])
        return
    if name is not None:
        table = Table("card", "state", "scanned", box=None, pad_edge=False)
        for card in cards:
            state = card.state.value if card.state else "blank"
            table.add_row(card.serial, state, in_words(card.scanned_at, firm.zone))
    else:
        table = Table("box", "cards", "blank", box=None, pad_edge=False)
        whole = Counter(card.box for card in cards)
        blank = Counter(card.box for card in cards if card.blank)
        for one, count in whole.items():
            table.add_row(one, str(count), str(blank[one]))
    out().print(table if cards else "none")


@click.command()
@click.option(
    "--minimum",
    type=click.IntRange(0),
    help="Fewer blank cards: refuse, from now on. 0: none is too few.",
)
@journal_option
@operator_option
@json_option
def stock(*, minimum: int | None, journal: Path, operator_file: Path, as_json: bool) -> None:
    """Blank cards in boxes, and cards of the pool where somebody is signed in at this desk.

    Exit code 5 when there are fewer than was last said with --minimum, or fewer in the pool than
    policy says.
    """
    with closing(StationJournal(journal)) as book:
        blank = sum(card.blank for card in book.boxed())
        if minimum is not None:
            book.keep_blank_minimum(minimum)
        minimum = book.blank_minimum()
    counts: dict[str, int] = {}
    short = [f"{blank} blank cards are left, of {minimum}"] if blank < minimum else []
    if operator_file.exists():
        with closing(Desk(operator.load(operator_file))) as server:
            terms = server.terms()
        counts = terms.counts
        short += [terms.short] if terms.short else []
    if as_json:
        print_json({"blank": blank, "minimum": minimum, "server": counts, "short": short})
    else:
        table = Table("where", "cards", box=None, pad_edge=False)
        for where, count in {"blank, in boxes": blank, **counts}.items():
            table.add_row(where, str(count))
        out().print(table)
    if short:
        raise RefusedError(
            f"Cards run out: {'; '.join(short)}", todo="Order cards, or have more made."
        )


def _typed() -> Iterator[str]:
    """One scan after another, counted aloud, until an empty line."""
    console = err()
    stream = sys.stdin
    aloud = stream.isatty()
    if aloud:
        console.print("Scan the first label; Enter alone ends it.")
    for count, line in enumerate(stream, 1):
        if not read_scan(line):
            return
        if aloud:
            console.print(f"{count}: {read_scan(line)}", markup=False, highlight=False)
        yield line
