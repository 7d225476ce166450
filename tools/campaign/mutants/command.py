"""`tally campaign mutants`."""

from __future__ import annotations

import queue
import random
import threading
import time
from functools import cache
from typing import Any

import click
from rich.markup import escape

from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode, TallyError
from tallystick.common.ranges import RealRange
from tallystick.tools import options
from tallystick.tools.campaign.mutants import contexts, cuts, scope
from tallystick.tools.campaign.mutants.equivalent import Equivalents
from tallystick.tools.campaign.mutants.generate import mutants as generate
from tallystick.tools.campaign.mutants.hunt import Hunter
from tallystick.tools.campaign.mutants.mutant import Mutant
from tallystick.tools.campaign.mutants.results import Result, Results, report
from tallystick.tools.campaign.mutants.tree import Tree, digest


@click.command()
@click.option("--all", "every", is_flag=True, help="All of them, however long it takes.")
@click.option("--only", help="Of this file or folder.")
@click.option("--again", is_flag=True, help="Those that survived the last run.")
@click.option(
    "--minutes", default=20.0, show_default=True, type=RealRange(min=0),
    help="How long a sample is hunted. Without --all.",
)  # fmt: skip
@click.option("--deeper", default=0, type=click.IntRange(0), help="Second cuts of each scenario.")
@click.option("--map", "mapped", multiple=True, help="Only note what these tests execute.")
@click.option("--list", "listing", is_flag=True, help="List the mutants.")
@options.jobs
@options.seed(1)
@json_option
def mutants(
    *, every: bool, only: str | None, again: bool, minutes: float, deeper: int,
    mapped: tuple[str, ...], listing: bool, jobs: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Make every small mistake in firmware and guards: does anything notice it?

    Exit status 0 only when no mutant survived. Ctrl-C stops; the same command goes on from there.
    """
    if mapped:
        if not contexts.record(scope.MAP, mapped, scope.ROOT, jobs):
            raise SystemExit(ExitCode.FAILED)
        return
    found = [
        mutant
        for file in scope.files(only)
        for mutant in generate(file, (scope.ROOT / file).read_bytes())
    ]
    equivalents = Equivalents.load()
    equivalents.check(found)
    if listing:
        _list(found, as_json)
        return
    results = Results(scope.KEPT / "results.jsonl", digest(scope.ROOT))
    todo = _chosen(found, results, seed, again=again)
    for mutant in todo:
        if mutant.key in equivalents.reasons:
            results.add(Result(mutant.name, "equivalent", equivalents.reasons[mutant.key]))
    todo = [mutant for mutant in todo if mutant.name not in results.found]
    stopped = _hunt(
        todo, results, None if every else minutes, options.processes(jobs), deeper, quiet=as_json
    )
    _finish(report(found, results.found), as_json)
    if stopped:
        raise SystemExit(ExitCode.INTERRUPTED)
    if any(one.outcome == "survived" for one in map(results.found.get, _names(found)) if one):
        raise SystemExit(ExitCode.FAILED)


def _names(found: list[Mutant]) -> list[str]:
    return [mutant.name for mutant in found]


def _chosen(found: list[Mutant], results: Results, seed: int, *, again: bool) -> list[Mutant]:
    """In the order of the sample. Raises BadInputError for --again with nothing to go by."""
    chosen = list(found)
    random.Random(seed).shuffle(chosen)
    if not again:
        return chosen
    last = {**results.before, **results.found}
    chosen = [one for one in chosen if one.name in last and last[one.name].outcome == "survived"]
    if not chosen:
        raise BadInputError("No mutant survived the last run.", todo="Run without --again.")
    for one in chosen:
        results.found.pop(one.name, None)
    return chosen


def _hunt(
    todo: list[Mutant], results: Results, minutes: float | None, jobs: int, deeper: int, *,
    quiet: bool,
) -> bool:  # fmt: skip
    """Hunts until all are done or the minutes are over. → whether somebody stopped it."""
    if not todo:
        return False
    known = _map({one.file for one in todo if not one.file.startswith("firmware/")}, jobs)
    one_at_a_time = threading.Lock()
    noted = cache(lambda board: cuts.lines(board, scope.KEPT / f"scenarios-{board}.json"))

    def executed(board: str) -> cuts.ScenarioLines:
        with one_at_a_time:
            return noted(board)

    until = None if minutes is None else time.monotonic() + 60 * minutes
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in todo:
        waiting.put(mutant)
    done: queue.SimpleQueue[Result | TallyError | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        tree = Tree(scope.ROOT)
        try:
            hunter = Hunter(tree, known, executed, deeper)
            while not stop.is_set() and (until is None or time.monotonic() < until):
                done.put(hunter.hunt(waiting.get_nowait()))
        except queue.Empty:
            pass
        except TallyError as error:
            done.put(error)
        finally:
            tree.close()
            done.put(None)

    threads = [threading.Thread(target=work) for _ in range(min(jobs, len(todo)))]
    for thread in threads:
        thread.start()
    running, survived = len(threads), 0
    try:
        with progress(disable=quiet) as bar:
            task = bar.add_task("mutants", total=len(todo))
            while running:
                match done.get():
                    case None:
                        running -= 1
                    case TallyError() as error:
                        raise error
                    case Result() as result:
                        results.add(result)
                        survived += result.outcome == "survived"
                        bar.update(task, advance=1, description=f"{survived} survived")
    except KeyboardInterrupt:
        return True
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return False


def _map(files: set[str], jobs: int) -> contexts.Contexts:
    """Which tests execute a line of these files. What is not known yet, or not any more, is noted
    first."""
    if not files:
        return contexts.Contexts()
    tests = {found for file in files if (found := scope.mapped_by(file))}
    missing = contexts.outdated(scope.MAP, files, tests, scope.ROOT)
    if missing:
        err().print(
            f"First it is noted which tests execute which lines: {', '.join(missing[:3])}"
            f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}. That is one run of "
            f"them, and kept in {scope.MAP}."
        )
        contexts.record(scope.MAP, tuple(missing), scope.ROOT, jobs, aside=True)
    return contexts.Contexts.load(scope.MAP)


def _list(found: list[Mutant], as_json: bool) -> None:
    if as_json:
        print_json({"mutants": [mutant.row() for mutant in found]})
        return
    for mutant in found:
        out().print(_line(mutant.row()), markup=False)


def _line(row: dict[str, Any]) -> str:
    where = f"{row['file']}:{row['line']} {row['function']}"
    return f"{row['name']}  {where}  {row['statement'][:90]}  [{row['change']}]"


def _finish(counts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    console = out()
    for row in counts["survivors"]:
        console.print(f"[yellow]survived[/] {escape(_line(row))}")
    for file, row in counts["files"].items():
        if row["left"] < row["mutants"]:
            console.print(
                f"{file:<40} {row['mutants']:5} mutants {row['killed']:5} killed "
                f"{row['equivalent']:4} equivalent {row['survived']:4} survived "
                f"{row['left']:5} left"
            )
    console.print(
        f"{counts['mutants']} mutants: {counts['killed']} killed, {counts['equivalent']} "
        f"equivalent, {counts['survived']} survived, {counts['left']} not hunted yet"
    )
    if counts["left"]:
        err().print("The same command goes on; --all hunts them all.")
