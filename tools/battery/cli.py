"""`tally battery`: how long a cell lasts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.common.identity import Identity
from tallystick.common.paths import OUTPUT_FILE
from tallystick.common.ranges import RealRange
from tallystick.emulator import boards
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.emulator.parts.cells import CELLS, CellType
from tallystick.emulator.parts.coin_cell import ROOM_C
from tallystick.tools import options
from tallystick.tools.battery import own
from tallystick.tools.battery import plot as plots
from tallystick.tools.battery.life import live
from tallystick.tools.battery.report import Report
from tallystick.tools.fresh import image as fresh_image
from tallystick.tools.fresh import one_core
from tallystick.tools.image.folder import of_project
from tallystick.tools.personalise import personalise

if TYPE_CHECKING:
    from tallystick.tools.battery.compare import Comparison

_DARK_MS = 60_000
_YEARS, _FEWEST, _A_DAY = 5.0, 0.002, 1 / 365.25


@click.group(invoke_without_command=True)
@options.emulated_board
@click.option(
    "--cell", type=click.Choice(list(CELLS), case_sensitive=False),
    help="What feeds the card (default: the board's own).",
)  # fmt: skip
@click.option(
    "--firmware", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Your own firmware in place of a card's; the buttons of its board.toml are pressed.",
)  # fmt: skip
@click.option(
    "--presses-per-day",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How much the card is used.",
)
@click.option(
    "--years", type=RealRange(0.0001, 30),
    help="How long to run it (default: 5, with --firmware a day); less when the cell is empty "
    "before.",
)  # fmt: skip
@click.option(
    "--temperature",
    type=RealRange(-20, 60),
    default=ROOM_C,
    show_default=True,
    help="Of card and cell, °C.",
)
@click.option("--image", type=click.Path(path_type=Path), help="Image to boot (default: build it).")
@click.option("--plot", type=OUTPUT_FILE, help="Draw the life: .svg or .png.")
@options.seed()
@console.json_option
@click.pass_context
def battery(
    context: click.Context,
    board: str | None,
    cell: str | None,
    firmware: Path | None,
    presses_per_day: int,
    years: float | None,
    temperature: float,
    image: Path | None,
    plot: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run the firmware through years of presses on a cell, and say where the charge went.

    With --firmware DIR it is yours: a day of it is run, and how long the cell lasts follows from
    that. `cell = "CR2032"` in its board.toml is what feeds it.

    Nothing is skipped: every press boots the image, commits to flash, shows a code and sleeps, and
    every part's current is integrated in virtual time.
    """
    if context.invoked_subcommand is not None:
        return
    if plot is not None and plot.suffix not in plots.FORMATS:
        raise BadInputError(
            f"{plot} is neither .svg nor .png.", todo="Name the picture with one of these endings."
        )
    if firmware is not None:
        if image is not None or plot is not None:
            raise click.UsageError("--firmware is your own: --image and --plot are a card's.")
        named = CELLS[cell.upper()] if cell else None
        project = Project.find(firmware, board)
        span = years or _A_DAY
        _show_own(_own(project, named, presses_per_day, span, temperature, seed, quiet=as_json),
                 as_json=as_json)  # fmt: skip
        return
    years = years or _YEARS
    if years < _FEWEST:
        raise click.UsageError(f"--years of a card: {_FEWEST:g} at least, which is a day.")
    boot = Image.load(image, board) if image else fresh_image(board or boards.DEFAULT)
    kind = CELLS[(cell or card_board(boot.board).cell).upper()]
    with (
        one_core(),
        Card(
            boot,
            identity=Identity.derive("TS00000001", 20260101).encode(),
            seed=seed,
            cell=kind,
            temperature_c=temperature,
        ) as card,
    ):
        card.power_on()
        personalise(card)
        with console.progress(disable=as_json) as progress:
            task = progress.add_task("days", total=round(years * 365.25))
            life = live(
                card, presses_per_day, years, seed=seed, on_day=lambda _: progress.advance(task)
            )
    report = Report(boot.board, kind, temperature, presses_per_day, life)
    if plot is not None:
        plots.draw(report, plot)
    if as_json:
        console.print_json(report.as_dict())
    else:
        _show(report, plot)


def _own(
    project: Project, cell: CellType | None, presses_per_day: int, years: float,
    temperature: float, seed: int, *, quiet: bool,
) -> Report:  # fmt: skip
    image, fittings = of_project(project), project.fittings()
    kind = cell or fittings.cell or CELLS[card_board(image.board).cell]
    fed = replace(fittings, cell=kind)
    with (
        one_core(),
        Card(image, seed=seed, temperature_c=temperature, fittings=fed) as card,
        console.progress(disable=quiet) as progress,
    ):
        task = progress.add_task("days", total=max(1, round(years * 365.25)))
        life = own.live(
            card, presses_per_day, years, seed=seed, on_day=lambda _: progress.advance(task)
        )
    return Report(image.board, kind, temperature, presses_per_day, life, project.name)


def _show_own(report: Report, *, as_json: bool) -> None:
    figures = report.as_dict()
    if as_json:
        console.print_json(figures)
        return
    out = console.out()
    low, high = (_lasts(years) for years in figures["years_band"])
    out.print(
        f"[bold]{_lasts(report.years)}[/] ({low} to {high}) on a {report.cell.title}, "
        f"{report.presses_per_day} presses a day, {report.temperature_c:g} °C"
    )
    out.print(
        f"[dim]{report.firmware} on {report.board.name}; limit: {figures['limit']}; run: "
        f"{_lasts(report.life.simulated_years)}, {figures['presses']} presses, "
        f"{figures['wall_seconds']} s[/]\n"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "share", "µAh"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, share in sorted(figures["share"].items(), key=lambda item: -item[1]):
        if used := figures["used_uah"][part]:
            table.add_row(part, f"{share:.1%}", f"{used:,.2f}")
    out.print(table)
    out.print(f"\n{figures['average_ua']:,.1f} µA on average")


def _lasts(years: float) -> str:
    """In the unit that a person would use."""
    for unit, number in (("years", 1.0), ("days", 365.25), ("hours", 8766.0)):
        if years * number >= 2 or unit == "hours":
            return f"{years * number:.3g} {unit}"
    raise AssertionError


@battery.command("compare", short_help="A measured press beside the predicted one.")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--board", default=boards.DEFAULT, show_default=True, help="That was measured.")
@click.option("--image", type=click.Path(path_type=Path), help="Image on it (default: build it).")
@click.option(
    "--press-ms", type=click.IntRange(60, 1400), default=120, show_default=True,
    help="How long the button was down.",
)  # fmt: skip
@console.json_option
def compare_command(
    trace: Path, board: str, image: Path | None, press_ms: int, as_json: bool
) -> None:
    """Lay the measured TRACE of one press over the predicted one, and name the part that is off.

    TRACE is a CSV export of a PPK2, Joulescope or Otii, from half a second before the press until
    the glass is dark again. Parts are told apart by when they draw.
    """
    if not trace.is_file():
        raise BadInputError(f"There is no trace {trace}.", todo="Name the exported CSV file.")
    try:  # numpy is of the extra `reader`; a battery's life does without
        from tallystick.tools.battery.compare import compare
        from tallystick.tools.battery.prediction import predict
        from tallystick.tools.battery.traces import read_trace
    except ModuleNotFoundError as error:
        raise BadInputError(
            f"Comparing traces needs {error.name}, which is not installed.",
            todo="pip install 'tallystick[reader]'",
        ) from error
    measured = read_trace(trace)
    boot = Image.load(image, board) if image else fresh_image(board)
    identity = Identity.derive("TS00000001", 20260101).encode()
    with one_core(), Card(boot, identity=identity) as card:
        card.power_on()
        personalise(card)
        card.run_for(_DARK_MS)
        comparison = compare(predict(card, press_ms), measured)
    if as_json:
        console.print_json(comparison.as_dict())
    else:
        _show_comparison(comparison)


def _show_comparison(comparison: Comparison) -> None:
    from tallystick.tools.battery.compare import OFF

    out = console.out()
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "measured / predicted", "predicted, µAh", "difference, µAh"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for factor in comparison.factors:
        name = f"[red]{factor.name}[/]" if factor.off else factor.name
        table.add_row(
            name, f"{factor.ratio:.3f}", f"{factor.uah:.4f}", f"{factor.difference_uah:+.4f}"
        )
    out.print(table)
    out.print(
        f"\nA press took {comparison.measured_uah:.3f} µAh; "
        f"{comparison.predicted_uah:.3f} are predicted."
    )
    culprit = comparison.culprit
    if culprit is None:
        out.print(f"No part is off by more than {OFF:.0%}.")
    else:
        out.print(f"[bold]{culprit.name}[/] is off most: {culprit.ratio - 1:+.1%}.")


def _show(report: Report, plot: Path | None) -> None:
    out = console.out()
    figures = report.as_dict()
    low, high = figures["years_band"]
    out.print(
        f"[bold]{figures['years']} years[/] ({low} to {high}) on a {report.cell.title}, "
        f"{report.presses_per_day} presses a day, {report.temperature_c:g} °C"
    )
    out.print(
        f"[dim]limit: {figures['limit']}; run: {figures['simulated_years']:.2f} years, "
        f"{figures['presses']} presses, {figures['wall_seconds']} s[/]\n"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "share", "µAh", "µAh a press, beyond sleep"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, share in sorted(figures["share"].items(), key=lambda item: -item[1]):
        press = figures["press_uah"].get(part)
        table.add_row(
            part, f"{share:.1%}", f"{figures['used_uah'][part]:,.0f}",
            "" if press is None else f"{press:.4f}",
        )  # fmt: skip
    out.print(table)
    out.print(f"\n{figures['uah_per_press']:.3f} µAh a press, {figures['sleep_ua']} µA asleep")
    last = figures["last_code_years"] if figures["exhausted"] else None
    for name, value in (("first low", figures["first_low_years"]), ("last code", last)):
        out.print(f"{name}: {'not within this run' if value is None else f'{value:.2f} years'}")
    if plot is not None:
        out.print(f"plot: {plot}")
