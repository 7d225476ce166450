"""`tally fingerprints`: measure the emulated sensor's error rates, show the last measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.common.console import json_option, out, print_json, progress
from tallystick.common.errors import BadInputError
from tallystick.common.groups import Group
from tallystick.common.paths import OUTPUT_FILE, cache_folder
from tallystick.tools.options import Option

SUMMARY = Path(__file__).with_name("summary.json")


_plot = click.option("--plot", type=OUTPUT_FILE, help="Draw the DET curve here (PNG).")


def _number(name: str, default: int, least: int, what: str) -> Option:
    whole = click.IntRange(least)
    return click.option(name, type=whole, default=default, show_default=True, help=what)


@click.group(cls=Group)
def fingerprints() -> None:
    """How often the emulated sensor errs, on synthetic fingers."""


@fingerprints.command()
@_number("--fingers", 300, 2, "How many are enrolled.")
@_number("--logins", 10, 1, "Log-ins with each finger.")
@_number("--probes", 4, 1, "Images of each finger that are compared with every other finger.")
@_number("--first-seed", 2_000_000, 0, "The first finger's; the next ones follow.")
@click.option("--summary", type=OUTPUT_FILE, help="Write the figures here.")
@_plot
@json_option
def measure(
    fingers: int,
    logins: int,
    probes: int,
    first_seed: int,
    summary: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Enrol synthetic fingers, log in with them, and try every finger on every other.

    The defaults take about 20 minutes of one core. What is done is kept in the user's cache folder:
    a run that was stopped goes on where it was.
    """
    from tallystick.tools.fingerprints.measurement import TrialPlan, run
    from tallystick.tools.fingerprints.summary import summarise

    plan = TrialPlan(first_seed, fingers, logins, probes)
    cache = cache_folder() / "fingerprints"
    with progress(disable=as_json) as bar:
        tasks = {name: bar.add_task(name, total=fingers) for name in ("fingers", "impostors")}
        scores = run(plan, cache, lambda stage, done: bar.update(tasks[stage], completed=done))
    result = summarise(plan, scores)
    if summary:
        summary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot:
        _draw(result, plot)
    _show(result, as_json)


@fingerprints.command()
@_plot
@json_option
def show(plot: Path | None, as_json: bool) -> None:
    """The measurement that this version's thresholds rest on."""
    result = json.loads(SUMMARY.read_text(encoding="utf-8"))
    if plot:
        _draw(result, plot)
    _show(result, as_json)


@fingerprints.command()
@click.argument("finger_name", metavar="FINGER", default="right-thumb")
@_number("--person", 0, 0, "Whose finger: every number is another person.")
@click.option("--to", "path", type=OUTPUT_FILE, required=True, help="Picture to write, PNG.")
def draw(finger_name: str, person: int, path: Path) -> None:
    """Draw how the sensor sees FINGER (right-thumb …), pressed in each way there is."""
    from tallystick.tools.fingerprints.sheet import sheet

    sheet(finger_name, person).save(path)


def _draw(result: dict[str, Any], path: Path) -> None:
    try:
        from tallystick.tools.fingerprints.plot import draw
    except ModuleNotFoundError as error:
        raise BadInputError(
            "The curve was not drawn: matplotlib is not installed.",
            kept="The figures are complete.",
            todo="Install it with `pip install 'tallystick[plots]'` and run this again.",
        ) from error
    draw(result, path)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    title = f"{result['impostor_pairs']:,} impostor pairs, {result['log_ins']:,} log-ins"
    table = Table(title=title)
    headings = "level, score, false match, at most, refused at 1 try, at 3 tries, at most"
    for heading in headings.split(", "):
        table.add_column(heading, justify="right", no_wrap=True)
    for level in result["levels"]:
        match, three = level["false_match"], level["refused_three_tries"]
        table.add_row(
            str(level["level"]),
            f"≥ {level['threshold']}",
            _one_in(match["rate"]),
            _one_in(match["exact"][1]),
            f"{level['refused_one_try']['rate']:.1%}",
            f"{three['rate']:.2%}",
            f"{three['exact'][1]:.2%}",
        )
    out().print(table)
    out().print(
        f"{result['fingers']} fingers, {result['failures_to_enrol']} could not be enrolled, "
        f"{result['presses_per_enrolment']} presses an enrolment. "
        "“At most” is the upper end of the 95 % interval."
    )


def _one_in(rate: float) -> str:
    return f"1:{1 / rate:,.0f}" if rate else "0"
