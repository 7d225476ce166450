"""`tally image`: firmware images from source to file."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick import __version__
from tallystick.common import console
from tallystick.emulator import boards
from tallystick.tools.image import build as building


@click.group()
def image() -> None:
    """Build and inspect firmware images."""


@image.command()
@click.option("--device", type=click.Choice(["card", "reader"]), default="card", show_default=True)
@click.option("--board", default=boards.DEFAULT, show_default=True, help="Board to build for.")
@click.option("--version", default=__version__, show_default=True, help="Version of the image.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files (default: build/DEVICE-BOARD).",
)
@console.json_option
def build(device: str, board: str, version: str, out: Path | None, as_json: bool) -> None:
    """Compile the firmware and pack it for a board."""
    built = building.build(device, board, version)
    folder = out or Path("build") / f"{device}-{board}"
    outputs = building.write(built, folder)
    if as_json:
        console.print_json(
            {
                "device": device,
                "board": board,
                "version": version,
                "bytecode_bytes": built.bytecode_size,
                "flash_bytes": len(built.flash),
                "outputs": {kind: str(path) for kind, path in outputs.items()},
            }
        )
        return
    show = console.out()
    show.print(f"{device} {version} for {board}")
    room = built.board.file_system.size
    show.print(f"  bytecode     {built.bytecode_size:>7,} bytes in {len(built.files)} files")
    show.print(f"  file system  {len(built.flash):>7,} bytes of {room:,}")
    for path in outputs.values():
        show.print(f"  {path!s:<44} {path.stat().st_size:>9,} bytes")
