"""`tally battery`: how long a cell lasts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.common.identity import Identity
from tallystick.common.paths import OUTPUT_FILE
from tallystick.emulator import boards
from tallystick.emulator.boards.board import card_board
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.cells import CELLS
from tallystick.emulator.parts.coin_cell import ROOM_C
from tallystick.tools import options
from tallystick.tools.battery import plot as plots
from tallystick.tools.battery.life import live
from tallystick.tools.battery.report import Report
from tallystick.tools.fresh import image as fresh_image
from tallystick.tools.fresh import one_core
from tallystick.tools.personalise import personalise

if TYPE_CHECKING:
    from tallystick.tools.battery.compare import Comparison

_DARK_MS = 60_000


@click.group(invoke_without_command=True)
@options.emulated_board
@click.option(
    "--cell", type=click.Choice(list(CELLS), case_sensitive=False),
    help="What feeds the card (default: the board's own).",
)  # fmt: skip
@click.option(
    "--presses-per-day",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How much the card is used.",
)
@click.option(
    "--years", type=click.FloatRange(0.002, 30), default=5.0, show_default=True,
    help="How long to run it; less when the cell is empty before.",
)  # fmt: skip
@click.option(
    "--temperature",
    type=click.FloatRange(-20, 60),
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
    presses_per_day: int,
    years: float,
    temperature: float,
    image: Path | None,
    plot: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Run the firmware through years of presses on a cell, and say where the charge went.

    Nothing is skipped: every press boots the image, commits to flash, shows a code and sleeps, and
    every part's current is integrated in virtual time.
    """
    if context.invoked_subcommand is not None:
        return
    if plot is not None and plot.suffix not in plots.FORMATS:
        raise BadInputError(
            f"{plot} is neither .svg nor .png.", todo="Name the picture with one of these endings."
        )
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
