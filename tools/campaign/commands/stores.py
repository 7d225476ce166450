"""`tally campaign stores`: the faults under a store of others, and its own claims judged."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import click

from tallystick import faults
from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.faults.search import Case, case, search
from tallystick.tools import options
from tallystick.tools.campaign.stores.little import LittleStore

# Kind → what it is. Those that the store's documents promise something about.
CLAIMED = {
    "b": "cut before a change",
    "a": "cut after a change",
    "p": "program cut after some bytes",
    "s": "program or erase cut after some bits",
    "t": "erase cut before its last bits",
    "n": "program cut, its bits weak",
    "w": "erase cut, some bits weak",
    "x": "cut, some done, the rest weak",
    "f": "sector worn out from then on",
}


@dataclass
class StoreLine:
    """A kind of fault. put: so many of it; held: at so many the claims held. example: a line that
    replays one."""

    kind: str
    sentence: str
    put: int = 0
    held: int = 0
    example: str = ""


@dataclass
class Stores:
    """What `--json` prints. broken: lines at which a claim did not hold."""

    store: str
    seed: int
    second: int
    lines: list[StoreLine] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@click.command()
@options.seed(1)
@click.option(
    "--second", default=1, show_default=True, type=click.IntRange(0),
    help="Cuts of each recovery as well.",
)  # fmt: skip
@click.option("--only", metavar="LINE", help="One fault, as the table names it: 12p16, 12p16/3b.")
@json_option
def stores(*, seed: int, second: int, only: str | None, as_json: bool) -> None:
    """Put every fault under littlefs at its work, and compare its files with what it promises."""
    if only is not None:
        _one(only, seed, as_json)
        return
    result = Stores("littlefs", seed, second)
    put, held = Counter[str](), Counter[str]()
    first: dict[str, str] = {}
    for one in _stopped_between(search(LittleStore(), "".join(CLAIMED), seed, second)):
        put[one.kind] += 1
        held[one.kind] += not one.broken
        first.setdefault(one.kind, one.line)
        if one.broken:
            result.broken.append(one.line)
    result.lines = [
        StoreLine(kind, sentence, put[kind], held[kind], first.get(kind, ""))
        for kind, sentence in CLAIMED.items()
    ]
    if as_json:
        print_json(asdict(result))
    else:
        for line in result.lines:
            again = f"tally campaign stores --only {line.example}" if line.example else "none here"
            out().print(f"{line.sentence:<38} {line.put:5} put  {line.held:5} held  {again}")
    if result.broken:
        raise SystemExit(ExitCode.FAILED)


def _stopped_between(cases: Iterator[Case]) -> Iterator[Case]:
    """Ctrl-C ends it after the case at hand: littlefs's C code would swallow it."""
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        for one in cases:
            if asked:
                raise KeyboardInterrupt
            yield one
    finally:
        signal.signal(signal.SIGINT, before)


def _one(line: str, seed: int, as_json: bool) -> None:
    try:
        one = case(LittleStore(), tuple(line.split("/")), seed)
    except (faults.NoFaultError, ValueError) as error:
        raise BadInputError(
            f"{line!r} is no line of this table: {error}", todo="Copy it whole, with its seed."
        ) from None
    if as_json:
        print_json(asdict(one))
    else:
        out().print(f"{one.line}: {one.broken or 'held'}")
    if one.broken:
        raise SystemExit(ExitCode.FAILED)
