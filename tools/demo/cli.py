"""`tally demo`: image, emulated card, server, station, press, log-in."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import click
from rich.table import Table

from tallystick.common import console
from tallystick.common.errors import ExitCode
from tallystick.emulator import boards
from tallystick.tools import options
from tallystick.tools.demo.story import Story


@click.command()
@options.one_board("Board to emulate.")
@click.option("--user", default="alice", show_default=True, help="Who gets the card.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("build"), show_default=True,
    help="Where demo.json and demo/card.png go.",
)  # fmt: skip
@console.json_option
def demo(board: str, user: str, out: Path, as_json: bool) -> None:
    """The main job, end to end: build the image, boot an emulated card, provision it over a serial
    port, register it, press the button, log in with the code, and see the same code refused."""
    boards.find(board)
    folder = out / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    with Story(folder, board, user, quiet=as_json) as story:
        story.build_image()
        story.power_the_card()
        story.start_the_server()
        story.prepare_the_station()
        story.provision()
        story.press_and_log_in()
    summary = {**story.facts, "seconds": round(time.monotonic() - began, 2)}
    (out / "demo.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if as_json:
        console.print_json(summary)
    else:
        _show(summary, out)
    if not (summary["accepted"] and summary["second_time"] == "replayed"):
        raise SystemExit(ExitCode.FAILED)


def _show(summary: dict[str, object], out: Path) -> None:
    table = Table.grid(padding=(0, 2))
    for name in (
        "board", "image_sha256", "serial", "key_version", "wire_bytes", "provision_ms", "code",
        "accepted", "second_time", "seconds",
    ):  # fmt: skip
        table.add_row(f"[dim]{name.replace('_', ' ')}[/]", str(summary[name]))
    console.out().print(table)
    console.out().print(f"\npicture: {summary['picture']}   summary: {out / 'demo.json'}")
