"""`tally campaign firm`: cards, stations, desk, server and people in one simulation."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.common.paths import OUTPUT_FILE
from tallystick.common.ranges import RealRange
from tallystick.emulator import boards
from tallystick.emulator.devices.image import Image
from tallystick.tools import fresh, options
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.firm import film, replaying, zoo
from tallystick.tools.campaign.firm.run import simulate
from tallystick.tools.campaign.firm.script import Level, SimulatedFirm
from tallystick.tools.campaign.firm.sites import FirmTally, simulate_all
from tallystick.tools.campaign.firm.soak import Soaked, soak
from tallystick.tools.campaign.firm.story import FirmLine, FirmStory, shrink

BOARD = boards.DEFAULT
_STATE = Path("build/campaign/firm.json")


@click.command()
@click.option(
    "--cards", default=20, show_default=True, type=click.IntRange(1, 10_000),
    help="One in ten is a spare, and of a dozen four; the others are people's.",
)  # fmt: skip
@click.option("--readers", default=2, show_default=True, type=click.IntRange(0, 1_000),
              help="Fingerprint readers, for as many of the people.")  # fmt: skip
@click.option(
    "--days", default=7, show_default=True, type=click.IntRange(1, 3660),
    help="From a Monday on; on the first Sunday the clocks change.",
)  # fmt: skip
@click.option(
    "--faults", "level", type=click.Choice([one.value for one in Level]), default="normal",
    show_default=True, help="How much goes wrong.",
)  # fmt: skip
@options.seed(1, "The same seed gives the same bytes.")
@options.jobs
@click.option("--replay", "line", metavar="LINE", help="A violation again, as its line names it.")
@click.option(
    "--keep", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
    help="Keep databases and flash as they are at the end, to look at.",
)  # fmt: skip
@click.option("--report", type=OUTPUT_FILE, metavar="FILE",
              help="A page with the days as a time line.")  # fmt: skip
@click.option("--no-shrink", is_flag=True, help="Tell a violation as it was found.")
@click.option("--soak", "seconds", metavar="SECONDS", type=RealRange(min=1),
              help="One firm after the other, a seed each, for so long.")  # fmt: skip
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where --soak keeps what it did, and goes on from.")  # fmt: skip
@click.option("--zoo", "broken", is_flag=True, help="Bugs planted on purpose: is each caught?")
@json_option
def firm(
    *, cards: int, readers: int, days: int, level: str, seed: int, jobs: int, line: str | None,
    keep: Path | None, report: Path | None, no_shrink: bool, seconds: float | None,
    state: Path | None, broken: bool, as_json: bool,
) -> None:  # fmt: skip
    """Live a firm's weeks in minutes, from one seed, with everything going wrong.

    Employees press cards, lend and lose them; staff change shifts; strangers guess and replay;
    power goes in the middle of a write, processes end at a commit, clocks are wrong, disks fill up.
    Firmware, station and server are the product's own. No code is accepted twice, nobody is kept
    out who has a right to come in, nothing that was acknowledged is lost.
    """
    _must_fit(
        {"--zoo": broken, "--replay": line, "--soak": seconds},
        {"--keep": keep, "--report": report, "--state": state, "--no-shrink": no_shrink},
    )
    if broken:
        _hunt(options.processes(jobs), as_json)
        return
    if line is not None:
        _replay(FirmLine.parse(line), keep, report, as_json)
        return
    subject = SimulatedFirm(cards, readers, days, Level(level), seed)
    if seconds is not None:
        _soak(subject, jobs, seconds, state or _STATE, as_json)
        return
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)  # told now where that cannot be
    began = time.monotonic()
    image = fresh.image(BOARD)
    tally = FirmTally()
    with progress(disable=as_json) as bar:
        shown = bar.add_task("sites", total=None)
        for tally in simulate_all(subject, image, options.processes(jobs), keep=keep):
            bar.update(shown, completed=tally.sites)
    seconds = round(time.monotonic() - began, 1)
    stories = [] if no_shrink else _stories(tally, image, as_json)
    if report is not None:
        report.write_text(film.page(subject, tally, stories), encoding="utf-8")
    _tell(tally, stories, seconds, keep, as_json)
    if tally.violations:
        raise SystemExit(ExitCode.FAILED)


_GO_WITH: dict[str, tuple[str, ...]] = {
    "--zoo": (), "--replay": ("--keep", "--report"), "--soak": ("--state",),
    "": ("--keep", "--report", "--no-shrink"),
}  # fmt: skip


def _must_fit(ways: dict[str, object], more: dict[str, object]) -> None:
    """What would be passed over in silence is refused. Raises BadInputError."""
    said = [name for name, value in ways.items() if value]
    way = said[0] if said else ""
    beside = [*said[1:], *(name for name, value in more.items() if value)]
    wrong = [name for name in beside if name not in _GO_WITH[way]]
    if wrong:
        fits = " and ".join(_GO_WITH[way]) or "none of these"
        raise BadInputError(
            f"{wrong[0]} does not go with {way or 'a firm that is lived once'}.",
            kept="Nothing was simulated.",
            todo=f"What goes with it: {fits}. `--help` says more.",
        )


def _stories(tally: FirmTally, image: Image, as_json: bool) -> list[FirmStory]:
    """The first violation of each site, shortened."""
    with progress(disable=as_json) as bar:
        shown = bar.add_task("shrinking", total=None)

        def tried(acts: int) -> None:
            bar.update(shown, description=f"shrinking: {acts} acts", advance=1)

        return [
            shrink(one.site, one.result, image, tried)
            for one in {one.site: one for one in reversed(tally.found)}.values()
        ]


def _soak(firm: SimulatedFirm, jobs: int, seconds: float, file: Path, as_json: bool) -> None:
    so_far = Soaked.read(file)
    with progress(disable=as_json) as bar:
        shown = bar.add_task("firms", total=None)
        for so_far in soak(firm, fresh.image(BOARD), options.processes(jobs), seconds, file):
            bar.update(shown, completed=len(so_far.done))
    if as_json:
        print_json({key: value for key, value in asdict(so_far).items() if key != "format"})
    else:
        for line, what in so_far.found:
            out().print(f"[red]{what}[/]\n  --replay '{line}'", highlight=False)
        out().print(
            f"{len(so_far.done):,} firms, {so_far.simulated_hours:,.0f} hours, "
            f"{so_far.acts:,} acts, {so_far.faults:,} faults, {so_far.violations:,} violations; "
            f"kept in {file}"
        )
    if so_far.violations:
        raise SystemExit(ExitCode.FAILED)


def _replay(line: FirmLine, keep: Path | None, report: Path | None, as_json: bool) -> None:
    result = simulate(line.firm, line.script, image=fresh.image(BOARD), keep=keep)
    tally = FirmTally()
    tally.add(0, result)
    if report is not None:
        report.write_text(film.page(line.firm, tally), encoding="utf-8")
    if as_json:
        print_json(tally.as_dict() | {"told": [str(one) for one in result.told],
                                      "found": result.violations})  # fmt: skip
    else:
        for one in result.told:
            out().print(str(one), markup=False, highlight=False)
        for what in result.violations or ["no violation"]:
            out().print(what, markup=False, highlight=False)
        _tell_kept(keep)
    if result.violations:
        raise SystemExit(ExitCode.FAILED)


def replay_firm(
    line: str, until: str | None, folder: Path, planted: str | None, port: int | None, *,
    as_json: bool,
) -> None:  # fmt: skip
    """`tally campaign replay` of a firm's line. Raises BadInputError."""
    instant = replaying.go(line, fresh.image(BOARD), folder, until=until, planted=planted)
    result = instant.result
    if as_json:
        print_json(instant.as_dict())
    else:
        for one in result.told:
            out().print(str(one), markup=False, highlight=False)
        for what in result.violations or ["no violation until then"]:
            out().print(what, markup=False, highlight=False)
        readme = (folder / replaying.README).read_text(encoding="utf-8")
        err().print(readme, markup=False, highlight=False)
    if port is not None:
        replaying.serve_pages(
            instant, port, lambda words: err().print(words, markup=False, highlight=False)
        )
    elif result.violations:
        raise SystemExit(ExitCode.FAILED)


def _tell(
    tally: FirmTally, stories: list[FirmStory], seconds: float, keep: Path | None, as_json: bool
) -> None:
    if as_json:
        found = [
            {"line": str(one.line), "acts": one.acts, "what": one.what, "told": one.told}
            for one in stories
        ] or [{"line": str(FirmLine(one.site)), "what": one.what} for one in tally.found]
        print_json(tally.as_dict() | {"wall_seconds": seconds, "found": found})
        return
    for story in stories:
        out().print(f"[red]{story.what}[/], in {story.acts} acts:", highlight=False)
        for words in story.told:
            out().print(f"  {words}", markup=False, highlight=False)
        out().print(f"  --replay '{story.line}'", markup=False, highlight=False)
    for one in tally.found if not stories else ():
        out().print(f"[red]{one.what}[/]\n  --replay '{FirmLine(one.site)}'", highlight=False)
    counts = tally.counts
    out().print(
        f"{tally.simulated_hours:,.0f} hours in {seconds:.0f} s: {tally.acts:,} acts, "
        f"{counts['presses']:,} presses, {counts['log_ins']:,} log-ins, {tally.faults:,} faults, "
        f"{tally.violations:,} violations"
    )
    _tell_kept(keep)


def _tell_kept(keep: Path | None) -> None:
    if keep is None:
        return
    err().print(
        f"kept in {keep}: each card's flash (`tally emulate card --flash FILE --panel`), and the "
        "server's database with its keys (`tally server run --db sqlite:///…/server.db --key-file "
        "…/server.keys`)",
        highlight=False,
    )


def _hunt(jobs: int, as_json: bool) -> None:
    rows = []
    names = [one.name for one in zoo.ALL]
    with progress(disable=as_json) as bar, worker_pool(jobs) as pool:
        shown = bar.add_task("zoo", total=len(names))
        for one, story in zip(zoo.ALL, pool.in_order(zoo.hunt_named, names), strict=True):
            rows.append((one, story))
            bar.update(shown, advance=1)
            if not as_json:
                words = f"{story.acts} acts: {story.what}" if story else "NOT CAUGHT"
                err().print(f"{one.name:<22} {words}", markup=False, highlight=False)
    escaped = sum(story is None for _, story in rows)
    if as_json:
        print_json(
            [
                {"name": one.name, "sentence": one.sentence, "caught": story is not None}
                | ({"story": story.told, "acts": story.acts} if story else {})
                for one, story in rows
            ]
        )
    if escaped:
        raise SystemExit(ExitCode.FAILED)
