"""`tally campaign powercut`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tallystick.common.console import err, json_option, out, print_json
from tallystick.common.errors import ExitCode
from tallystick.common.ranges import RealRange
from tallystick.emulator import boards as boards_known
from tallystick.emulator.boards import find
from tallystick.emulator.devices.project import Project
from tallystick.tools import options
from tallystick.tools.campaign.commands.own import OwnCampaign
from tallystick.tools.campaign.commands.subjects import BOARDS, SLOWER, share, subject, usual
from tallystick.tools.campaign.commands.subjects import find as find_scenarios
from tallystick.tools.campaign.engine import sites
from tallystick.tools.campaign.engine.campaign import (
    Campaign,
    CampaignPlan,
    CampaignResult,
    Progress,
)
from tallystick.tools.campaign.engine.line import Line
from tallystick.tools.campaign.engine.subject import Scenario
from tallystick.tools.campaign.update import cuts as update

RECORDS = Path("build/campaign")
UPDATE = "firmware-update"
_UPDATE_SAMPLE = 16  # cuts of an update where torn states are sampled
_NAME = 25  # columns for the longest name of a scenario


class _Shown(Progress):
    """A bar on the terminal: states, rate, time left. Drawn by the caller's own turns: a thread
    would be one more thing that a fork copies half of."""

    def __init__(self, bar: Bar, board: str) -> None:
        self._bar = bar
        self._task = bar.add_task(board, total=None, rate="")
        self._board = board

    def at(self, done: int, total: int, rate: float) -> None:
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:.0f} states/s")
        self._bar.refresh()


def _bar(*, disable: bool) -> Bar:
    console = err()
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        transient=True,
        disable=disable or not console.is_terminal,
    )


@click.command()
@click.option("--scenario", default="all", show_default=True, help="NAME, NAME,NAME or all.")
@options.some_boards(list(boards_known.ALL), usual())
@click.option(
    "--depth",
    default=2,
    show_default=True,
    type=click.IntRange(1, 3),
    help="Cuts in a row, each in the recovery from the one before.",
)
@options.jobs
@options.seed(1)
@click.option(
    "--sample",
    default=1.0,
    show_default=True,
    type=RealRange(0, 1),
    help="Part of the torn states to explore; all clean cuts always are.",
)
@click.option(
    "--deeper",
    default=4500,
    show_default=True,
    type=click.IntRange(0),
    help="States of a second cut, at most, for each scenario and board. Of a reader it is one in "
    f"{SLOWER['reader']}: it takes that much longer to judge.",
)
@click.option("--anew", is_flag=True, help="Begin anew where a stopped campaign could go on.")
@click.option(
    "--firmware",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Of your own firmware, with --invariants.",
)
@click.option(
    "--invariants",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Python with scenario(board) and check(board): what is cut, what must hold.",
)
@click.option("--line", help="Only this line of your own firmware, as a violation names it.")
@click.option("--list", "listing", is_flag=True, help="List the scenarios.")
@json_option
def powercut(
    *,
    firmware: Path | None,
    invariants: Path | None,
    line: str | None,
    scenario: str,
    boards: tuple[str, ...],
    depth: int,
    jobs: int,
    seed: int,
    sample: float,
    deeper: int,
    anew: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """Cut the power before, during and after every change of flash, and judge what is left.

    Exit status 0 only without a violation. Ctrl-C stops; the same command goes on from there. What
    was covered is in build/campaign/: `tally campaign audit` counts it again.
    """
    if firmware is not None or invariants is not None or line is not None:
        _own(firmware, invariants, line, boards, (depth, sample, seed), as_json=as_json)
        return
    names_wanted = scenario.split(",")
    updates = [one for one in boards if find(one).slots and {"all", UPDATE} & set(names_wanted)]
    rest = ",".join(one for one in names_wanted if one != UPDATE)
    chosen = find_scenarios(rest, boards) if rest else {}
    if listing:
        for one in dict.fromkeys(one for there in chosen.values() for one in there):
            out().print(f"{one.name:<{_NAME}}  {one.sentence}")
        out().print(f"{UPDATE:<{_NAME}}  A new image over the line (tally campaign update).")
        return
    if boards == usual() != BOARDS:
        err().print("without the reader's board, which needs pip install 'tallystick[reader]'")
    jobs = options.processes(jobs)
    report: dict[str, Any] = {
        "scenarios": {}, "cuts": 0, "distinct_states": 0, "violations": [],
        "states_per_second": 0.0, "uncut_sites": [], "sites": 0, "cut_elsewhere": {},
        "depth": depth, "seed": seed, "jobs": jobs, "seconds": 0.0, "boards": {},
    }  # fmt: skip
    with _bar(disable=as_json) as bar:
        for board, there in chosen.items():
            names = tuple(one.name for one in there)
            third = share(board, CampaignPlan.third)
            plan = CampaignPlan(board, names, depth, seed, sample, share(board, deeper), third)
            record = RECORDS / f"powercut-{board}.jsonl"
            if anew:
                record.unlink(missing_ok=True)
            campaign = Campaign(plan, subject(board), record)
            result = campaign.run(jobs, _Shown(bar, board))
            _add(report, result)
            if result.stopped:
                _finish(report, as_json, part=scenario != "all")
                err().print(f"stopped; kept in {record}: the same command goes on from there")
                raise SystemExit(ExitCode.INTERRUPTED)
            missing, count = _coverage(board, there, campaign, seed)
            report["uncut_sites"] += [f"{board} {one}" for one in missing]
            report["sites"] += count
            report["cut_elsewhere"] |= sites.ELSEWHERE[find(board).device]
        for board in updates:
            _add_update(report, _update(bar, board, sample, seed, jobs))
    _finish(report, as_json, part=scenario != "all")
    if report["violations"]:
        raise SystemExit(ExitCode.FAILED)


def _own(
    firmware: Path | None, invariants: Path | None, line: str | None, boards: tuple[str, ...],
    how: tuple[int, float, int], *, as_json: bool,
) -> None:  # fmt: skip
    """A firmware of somebody's own, by that person's invariants."""
    if firmware is None or invariants is None:
        raise click.UsageError("Give both --firmware DIR and --invariants FILE.")
    depth, sample, seed = how
    board = None if boards == usual() else boards[0]
    own = OwnCampaign(
        Project.find(firmware, board), invariants, depth=min(depth, 2), sample=sample, seed=seed
    )
    if line is not None:
        result = own.replay(line)
    else:
        with _bar(disable=as_json) as bar:
            task = bar.add_task("operations", total=None, rate="")

            def tell(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)
                bar.refresh()

            result = own.run(tell)
    if as_json:
        print_json(asdict(result))
    else:
        console = out()
        console.print(
            f"{result.operations} flash operations, {result.cuts} cuts in {result.seconds:.0f} s"
        )
        for violation in result.violations[:20]:
            console.print(f"{violation['line']}: {violation['what']}", markup=False)
            console.print(
                f"  tally campaign powercut --firmware {firmware} --invariants {invariants} "
                f"--line {violation['line']}", style="dim", soft_wrap=True, markup=False,
            )  # fmt: skip
        console.print(f"{len(result.violations)} violations")
    if result.violations:
        raise SystemExit(ExitCode.FAILED)


def _update(bar: Bar, board: str, sample: float, seed: int, jobs: int) -> update.UpdateResult:
    """An image in a slot is no state of the journal: the update has an engine of its own."""
    task = bar.add_task(f"{board} {UPDATE}", total=None, rate="")

    def advance(done: int, total: int) -> None:
        bar.update(task, advance=done, total=total)
        bar.refresh()

    some = None if sample == 1 else _UPDATE_SAMPLE
    return update.run(board, sample=some, seed=seed, jobs=jobs, advance=advance)


def _add_update(report: dict[str, Any], result: update.UpdateResult) -> None:
    cuts = result.cuts + result.second_cuts
    report["scenarios"][f"{result.board} {UPDATE}"] = {
        "operations": result.operations, "cuts": cuts, "states": cuts,
    }  # fmt: skip
    report["cuts"] += cuts
    report["distinct_states"] += cuts
    report["seconds"] = round(report["seconds"] + result.seconds, 2)
    report["states_per_second"] = round(
        report["distinct_states"] / max(report["seconds"], 0.001), 1
    )
    for violation in result.violations:
        case, _, what = violation.partition(" ")
        line = str(Line(result.board, UPDATE, result.seed, (case,)))
        report["violations"].append({"line": line, "kind": "update", "what": what})


def _coverage(
    board: str, chosen: list[Scenario], campaign: Campaign, seed: int
) -> tuple[list[str], int]:
    readable = subject(board, readable=True)
    changes = [
        (one.name, numbers, frames)
        for one in chosen
        for numbers, frames in sites.dynamic_sites(readable, one, seed)
    ]
    return sites.uncut(find(board), changes, campaign.phases)


def _add(report: dict[str, Any], result: CampaignResult) -> None:
    for name, counts in result.scenarios.items():
        report["scenarios"][f"{result.board} {name}"] = counts
    report["cuts"] += result.cuts
    report["distinct_states"] += result.distinct_states
    report["violations"] += result.violations
    report["seconds"] = round(report["seconds"] + result.seconds, 2)
    if report["seconds"]:
        rate = report["distinct_states"] / report["seconds"]
        report["states_per_second"] = round(rate, 1)
    row = asdict(result)
    report["boards"][result.board] = {
        key: row[key] for key in ("cuts", "distinct_states", "seconds", "states_per_second")
    }


def _again(line: str) -> str:
    """The command that shows it once more."""
    one = Line.parse(line)
    if one.scenario == UPDATE:
        only = "/".join(one.path)
        return f"tally campaign update --board {one.board} --seed {one.seed} --only {only}"
    return f"tally campaign replay {line}"


def _finish(report: dict[str, Any], as_json: bool, *, part: bool) -> None:
    """part: not all scenarios ran, so that some calls cannot have been cut."""
    if as_json:
        print_json(report)
        return
    console = out()
    for name, counts in report["scenarios"].items():
        console.print(
            f"{name:>32}  {counts['operations']:4} operations  {counts['cuts']:7} cuts  "
            f"{counts['states']:6} states"
        )
    console.print(
        f"{report['cuts']} cuts, {report['distinct_states']} distinct states in "
        f"{report['seconds']:.0f} s: {report['states_per_second']:.0f} states/s with "
        f"{report['jobs']} processes"
    )
    uncut = report["uncut_sites"]
    if part and uncut:
        console.print(
            f"{len(uncut)} of {report['sites']} calls that change flash are not cut by these "
            "scenarios (--json names them; --scenario all cuts them)"
        )
    for site in () if part else uncut:
        console.print(f"[yellow]uncut:[/] {site}")
    for violation in report["violations"][:20]:
        console.print(f"[red]{violation['kind']}[/] {violation['what'].splitlines()[0]}")
        console.print(f"  {_again(violation['line'])}", style="dim")
    count = len(report["violations"])
    said = f"{count} violation{'' if count == 1 else 's'}"
    console.print(said + (f", {count - 20} not shown" if count > 20 else ""))
