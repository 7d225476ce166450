"""`tally debug`: a Debug Adapter Protocol server for a firmware of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tallystick.common import console
from tallystick.common.ranges import RealRange
from tallystick.emulator.devices.project import Project
from tallystick.tools import options
from tallystick.tools.debugger.server import DapWire, DebugSession
from tallystick.tools.debugger.serving import serve_all


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--board", help="Another board than board.toml's.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True,
    help="TCP port on 127.0.0.1; 0 chooses.",
)  # fmt: skip
@click.option("--stdio", is_flag=True, help="Over standard input and output, for an editor.")
@click.option(
    "--speed", type=RealRange(0, 1000), default=1.0, show_default=True,
    help="Virtual seconds a second; 0: as fast as it goes.",
)  # fmt: skip
@options.seed()
@console.json_option
def debug(
    folder: Path, board: str | None, port: int, stdio: bool, speed: float, seed: int, as_json: bool
) -> None:
    """Debug the firmware in FOLDER, forwards and backwards, from an editor.

    Serves one client after another, until interrupted. docs/guides/debugger.md has a launch.json.
    """
    Project.find(folder, board)
    defaults: dict[str, Any] = {
        "project": str(folder.resolve()), "board": board, "seed": seed, "speed": speed
    }  # fmt: skip
    if stdio:
        with open(sys.stdin.fileno(), "rb", 0, closefd=False) as unbuffered:
            DebugSession(DapWire(unbuffered, sys.stdout.buffer), defaults).run()
        return
    serve_all(port, defaults, as_json=as_json)
