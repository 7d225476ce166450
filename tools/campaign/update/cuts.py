"""`tally campaign update`: the power goes at every flash operation of an update in the field,
before, during and after it, also while the device that was cut is put in order again.

What must hold afterwards, however the flash reads from one start to the next: the device starts,
runs the old image or the new one and says so truthfully, and takes the same update once more, to
the end. A card shows the next code and none twice, and keeps its keys; a reader keeps its
credentials, fingers, the tries of its PIN, and counts its signatures on.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress, TaskID

from tallystick import faults
from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator.boards import ALL, BOARDS
from tallystick.tools import options
from tallystick.tools.campaign.engine import hosts
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.update.cards import CardUpdates
from tallystick.tools.campaign.update.rig import UpdateRig
from tallystick.tools.fresh import one_core

_TORN = 3  # kinds of torn operation that are tried at each place, in turn
_AGAIN_EVERY = 32  # images half written: after so many one takes the whole update again
_CHUNK = 40


@dataclass(frozen=True)
class CutCase:
    """Power goes at `operation` of the update, as `fault` says (campaign/faults.py); `second`:
    once more, at that operation of the three starts that follow. `whole`: the update is then sent
    again, to its end."""

    operation: int
    fault: str
    second: int = -1
    whole: bool = True

    @property
    def name(self) -> str:
        return f"{self.operation}/{self.fault}/{self.second}"

    @classmethod
    def parse(cls, name: str) -> CutCase:
        """OPERATION/FAULT/SECOND, as a violation names it. Raises BadInputError."""
        try:
            operation, fault, second = name.split("/")
            return cls(int(operation), fault, int(second))
        except ValueError:
            raise BadInputError(
                f"{name!r} is not a case.", todo="Copy it from a violation: 17/a/-1, say."
            ) from None


@dataclass
class UpdateResult:
    """violations: what the oracle found, each with the case that `--only` replays. faults: how
    often each kind was cut with, by its letter."""

    board: str
    operations: int = 0
    cuts: int = 0
    second_cuts: int = 0
    updated_again: int = 0
    new_image: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    seed: int = 0

    def add(self, other: UpdateResult) -> None:
        self.cuts += other.cuts
        self.second_cuts += other.second_cuts
        self.updated_again += other.updated_again
        self.new_image += other.new_image
        self.violations += other.violations
        for kind, count in other.faults.items():
            self.faults[kind] = self.faults.get(kind, 0) + count


@click.command()
@click.option(
    "--board",
    type=click.Choice([*ALL, "all"]),
    default="all",
    show_default=True,
    help="Only on this board.",
)
@click.option(
    "--sample", type=click.IntRange(1), help="So many cuts, at least one of each kind; else all."
)
@options.seed()
@click.option("--only", help="One case, as a violation names it; needs --board.")
@options.jobs
@json_option
def update(
    board: str, sample: int | None, seed: int, only: str | None, jobs: int, as_json: bool
) -> None:
    """Power cuts at every flash operation of an update in the field."""
    if only and board == "all":
        raise click.UsageError("A case belongs to a board: name it with --board.")
    results = []
    every = ALL if hosts.of_readers() else BOARDS
    for name in every if board == "all" else (board,):
        with progress(disable=as_json) as bar:
            task = bar.add_task(f"cuts, {name}", total=None)
            results.append(
                run(
                    name,
                    sample=sample,
                    seed=seed,
                    only=only,
                    jobs=options.processes(jobs),
                    advance=_advance(bar, task),
                )
            )
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            _show(result)
    if any(result.violations for result in results):
        raise SystemExit(ExitCode.FAILED)


def _one(name: str, rig: UpdateRig[Any]) -> CutCase:
    case = CutCase.parse(name)
    if case.operation >= len(rig.operations):
        raise BadInputError(
            f"{name} names operation {case.operation}, and this update has {len(rig.operations)}.",
            todo="Use the firmware that the case came from.",
        )
    return case


def _advance(bar: Progress, task: TaskID) -> Callable[[int, int], None]:
    return lambda done, total: bar.update(task, advance=done, total=total)


def _show(result: UpdateResult) -> None:
    out().print(
        f"{result.board}: {result.cuts} cuts in {result.operations} flash operations and "
        f"{result.second_cuts} in what followed, {len(result.violations)} violations; "
        f"{result.updated_again} took the update again; the new image ran after "
        f"{result.new_image} ({result.seconds:.0f} s, seed {result.seed})."
    )
    for violation in result.violations[:20]:
        err().print(f"[red]violation[/] {violation}")


def run(
    board: str,
    *,
    sample: int | None = None,
    seed: int = 0,
    only: str | None = None,
    jobs: int = 1,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> UpdateResult:
    """The whole campaign on a board, or a sample of it, or one case."""
    begin = time.monotonic()
    rig = _rig(board)
    result = UpdateResult(board, operations=len(rig.operations), seed=seed)
    cases = [_one(only, rig)] if only else _chosen(list(_cases(rig, seed)), sample, seed)
    chunks = [cases[at : at + _CHUNK] for at in range(0, len(cases), _CHUNK)]
    for part in _done(partial(_explore, board, seed), chunks, jobs):
        result.add(part)
        advance(part.cuts, len(cases))
    result.seconds = round(time.monotonic() - begin, 1)
    return result


def _done(
    explore: Callable[[list[CutCase]], UpdateResult], chunks: list[list[CutCase]], jobs: int
) -> Iterable[UpdateResult]:
    if jobs == 1 or len(chunks) == 1:
        yield from map(explore, chunks)
        return
    with worker_pool(jobs) as pool:
        yield from pool.in_order(explore, chunks)


def _cases(rig: UpdateRig[Any], seed: int) -> Iterator[CutCase]:
    """Records and headers, which the next start reads, are cut in several ways at each operation.
    The content of the slot that does not run is not read before it is erased: there each operation
    is cut in one way, and one in so many cards takes the whole update again.
    """
    rng = random.Random(seed)
    turns: Counter[str] = Counter()
    yield CutCase(0, "b")
    for number, operation in enumerate(rig.operations):
        kinds: dict[str, list[str]] = {}
        for fault in faults.variants(operation, rng):
            if fault[0] not in "bvf":  # before: after the one before; the others: worn flash
                kinds.setdefault(fault[0], []).append(fault)
        torn = [kind for kind in kinds if kind != "a"]
        content = rig.is_content(number)
        turn = turns[operation.kind]
        turns[operation.kind] += 1 if content else _TORN
        if content:
            fault = rng.choice(kinds[[*torn, "a"][turn % (len(torn) + 1)]])
            yield CutCase(number, fault, whole=rng.randrange(_AGAIN_EVERY) == 0)
            continue
        yield CutCase(number, "a")
        for kind in [torn[(turn + n) % len(torn)] for n in range(min(_TORN, len(torn)))]:
            yield CutCase(number, rng.choice(kinds[kind]))


def _chosen(cases: list[CutCase], sample: int | None, seed: int) -> list[CutCase]:
    """All cases, or so many: one of each kind of fault, then the last, then any."""
    if sample is None or sample >= len(cases):
        return cases
    rng = random.Random(seed)
    mixed = rng.sample(cases, len(cases))
    kinds = {(case.fault[0], case.whole): case for case in mixed}
    chosen = dict.fromkeys([*kinds.values(), cases[-1], *mixed])
    return sorted(list(chosen)[: max(sample, len(kinds))], key=lambda case: case.operation)


@cache
def _rig(board: str) -> UpdateRig[Any]:
    """One a process: it holds a firm's keys, which go nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        return rig_of(board, Path(folder))


def rig_of(board: str, folder: Path) -> UpdateRig[Any]:
    """A card or a reader in service, as the board is for."""
    if board in BOARDS:
        return CardUpdates(board, folder)
    from tallystick.tools.campaign.update.readers import (  # noqa: PLC0415 (needs python-fido2)
        ReaderUpdates,
    )

    return ReaderUpdates(board, folder)


def _explore(board: str, seed: int, cases: list[CutCase]) -> UpdateResult:
    """In a process of its own, where there are several."""
    with one_core():
        return _explore_all(_rig(board), seed, cases)


def _explore_all(rig: UpdateRig[Any], seed: int, cases: list[CutCase]) -> UpdateResult:
    result = UpdateResult(rig.board)
    for case in cases:
        rng = random.Random(f"{seed} {case.operation}/{case.fault}")
        found = rig.explore(case.operation, case.fault, rng, second=case.second, whole=case.whole)
        result.violations += [f"{case.name} {problem}" for problem in found.problems]
        result.cuts += 1
        result.new_image += found.new_image
        result.updated_again += found.updated_again
        kind = case.fault[0]
        result.faults[kind] = result.faults.get(kind, 0) + 1
        if case.second < 0 and found.recovery and not rig.is_content(case.operation):
            again = CutCase(case.operation, case.fault, rng.randrange(found.recovery), whole=False)
            rng = random.Random(f"{seed} {again.operation}/{again.fault}")
            found = rig.explore(again.operation, again.fault, rng, second=again.second, whole=False)
            result.violations += [f"{again.name} {problem}" for problem in found.problems]
            result.second_cuts += 1
    return result
