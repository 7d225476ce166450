"""`tally image`: firmware images from source to file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from tallystick import __version__
from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.common.groups import Group
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.common.paths import OUTPUT_FILE
from tallystick.common.secret import Secret
from tallystick.emulator import boards
from tallystick.emulator.devices.project import Project
from tallystick.tools import options
from tallystick.tools.image import build as building
from tallystick.tools.image import cards, memory, sizes
from tallystick.tools.image import folder as folders
from tallystick.tools.image import heap as heaps
from tallystick.tools.image import inspect as inspecting
from tallystick.tools.image.built import FOREIGN, Built
from tallystick.tools.image.cli_keys import key_option, keys, open_key, passphrase_option
from tallystick.tools.image.keys import read_public
from tallystick.tools.image.merge import merge as merging
from tallystick.tools.image.merge import read_parts
from tallystick.tools.image.readers import readers
from tallystick.tools.image.verify import verify as verifying
from tallystick.tools.lock.boot_image import signed
from tallystick.tools.lock.boot_key import read as read_boot_key

_file = click.Path(path_type=Path, dir_okay=False)
_folder = click.Path(path_type=Path, file_okay=False)


@click.group(cls=Group)
def image() -> None:
    """Build, sign, check and inspect firmware images."""


image.add_command(keys)


image.add_command(readers)


@image.command()
@click.argument("base", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@options.one_board("Board that it is for.")
@click.option("--boot-key", type=_file, required=True, help="Key of secure boot, PEM.")
@click.option("--out", type=OUTPUT_FILE, required=True, help="The signed UF2 file.")
@console.json_option
def boot(base: Path, board: str, boot_key: Path, out: Path, as_json: bool) -> None:
    """Sign BASE, the MicroPython of a board with secure boot."""
    key = read_boot_key(boot_key)
    out.write_bytes(signed(boards.find(board), read_parts(base), key))
    if as_json:
        console.print_json({"out": str(out), "digest": key.digest.hex()})
    else:
        console.out().print(f"{out}: signed, boot key {key.digest.hex()[:16]}…")


@image.command()
@click.option(
    "--device",
    type=click.Choice(["card", "reader"]),
    default="card",
    show_default=True,
    help="What the image is for.",
)
@click.option("--board", help=f"Board to build for (default: board.toml's, {boards.DEFAULT}).")
@click.option("--version", default=__version__, show_default=True, help="Version of the image.")
@click.option(
    "--security",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Anti-rollback version: raise it when an older image must not come back.",
)
@key_option
@passphrase_option
@click.option("--readable", is_flag=True, help="For debugging: names and lines in tracebacks.")
@click.option(
    "--firmware",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Of your own firmware: a folder with main.py (and board.toml).",
)
@click.option("--heap", is_flag=True, help="Also measure how much heap every path needs.")
@click.option("--out", type=_folder, help="Folder for the files (default: build/DEVICE-BOARD).")
@console.json_option
def build(
    device: str,
    board: str | None,
    version: str,
    security: int,
    key: Path | None,
    passphrase_file: Path | None,
    readable: bool,
    firmware: Path | None,
    heap: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compile the firmware, pack it for a board, and sign it.

    Without --key the image is signed with the published development key.
    """
    signing = open_key(key, passphrase_file)
    if firmware is not None:
        if heap:
            raise click.UsageError("--heap measures our own firmware: leave it out.")
        project = Project.find(firmware, board)
        built = folders.build(project, version, signing)
    else:
        built = building.build(
            device, board or boards.DEFAULT, version,
            key=signing, security=security, readable=readable,
        )  # fmt: skip
    device, board = built.device, built.board.name
    folder = out or Path("build") / f"{device}-{board}"
    outputs = building.write(built, folder)
    need = None
    if heap:
        from tallystick.tools.heap import measure

        need = measure.need(built.board)
    held = sizes.compare(built)
    if firmware is None:
        held += heaps.rows(built.board, need)
    if as_json:
        console.print_json(
            {
                "device": device,
                "board": board,
                "version": version,
                "security_version": security,
                "public_key": built.key.public.hex(),
                "development": built.key.is_development,
                "bytecode_bytes": built.bytecode_size,
                "boot_bytes": built.boot_size,
                "flash_bytes": len(built.flash),
                "sizes": [row.as_dict() for row in held],
                "outputs": {kind: str(path) for kind, path in outputs.items()},
            }
        )
    else:
        _show_build(built, outputs, held)
    sizes.require(held)


def _show_build(built: Built, outputs: dict[str, Path], held: list[sizes.Row]) -> None:
    show = console.out()
    by = "the development key" if built.key.is_development else built.key.public.hex()[:16] + "…"
    show.print(f"{built.device} {built.version} for {built.board.name}, signed with {by}")
    for row in held:
        mark = "" if row.good else "  [red]too large[/]"
        since = f", committed {row.committed:,}" if row.committed else ""
        show.print(f"  {row.name:<14}{row.value:>9,} of {row.limit:>9,} bytes{since}{mark}")
    if built.device != FOREIGN and not any(row.name.startswith("heap") for row in held):
        show.print(f"  heap of {built.board.name} was never measured: --heap measures it now")
    for path in outputs.values():
        show.print(f"  {path!s:<46} {path.stat().st_size:>9,} bytes")


@image.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--board", help="Board, where the file does not say it.")
@click.option("--picture", type=OUTPUT_FILE, help="Write the memory map as a PNG.")
@console.json_option
def inspect(path: Path, board: str | None, picture: Path | None, as_json: bool) -> None:
    """Show what an image holds, and its memory map: a file, or the folder of a build."""
    found = inspecting.inspect(path, board)
    header = found.header
    title = found.board.name
    if header is not None:
        title = f"{header.device} {header.version} for {header.board}"
    if picture is not None:
        if picture.suffix.lower() != ".png":
            raise BadInputError(
                f"{picture} would be no PNG.",
                kept="Nothing was written.",
                todo="Name a file that ends in .png.",
            )
        memory.picture(found.areas, title).save(picture)
    if as_json:
        console.print_json(
            {
                "board": found.board.name,
                "device": header.device if header else None,
                "version": header.version if header else None,
                "security_version": header.security if header else None,
                "sha256": header.digest.hex() if header else None,
                "signed_by": found.signed_by or None,
                "files": found.files,
                "boot_files": found.boot_files,
                "areas": [vars(area) for area in found.areas],
            }
        )
        return
    show = console.out()
    show.print(title)
    if header is not None:
        show.print(f"  security version {header.security}, signed with {found.signed_by}")
        show.print(f"  sha256 {header.digest.hex()}")
    show.print(f"\n  {'address':<17}  {'area':<12}{'size':>10} {'written':>9}  what")
    for line in memory.text(found.areas):
        show.print(f"  {line}")
    for name, files in (("boot stage", found.boot_files), ("firmware", found.files)):
        if files:
            show.print(f"\n  {name}: {len(files)} files, {sum(files.values()):,} bytes")
            for name_there, size in files.items():
                show.print(f"    {name_there:<24}{size:>7,}")
    if picture is not None:
        show.print(f"\n  memory map: {picture}")


@image.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--public-key", help="Key it must be signed with: 64 hex digits, or a key file.")
@click.option("--development", is_flag=True, help="Accept the published development key.")
@console.json_option
def verify(path: Path, public_key: str | None, development: bool, as_json: bool) -> None:
    """Check signature and hashes of a build (its folder, or a file in it)."""
    trusted = read_public(public_key) if public_key else None
    good = verifying(path, trusted=trusted, development=development)
    if as_json:
        console.print_json({"verified": True, **good.manifest})
        return
    files = len(good.manifest["outputs"])
    console.out().print(
        f"{good.device} {good.version} for {good.board}: signature and {files} files are right "
        f"(key {good.manifest['public_key'][:16]}…)."
    )


@image.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option("--base", type=_file, required=True, help="MicroPython of the board, .hex or .uf2.")
@click.option("--identity", type=_file, help="A card's segment, .bin, to go in as well.")
@click.option("--public-key", help="Key the image must be signed with.")
@click.option("--development", is_flag=True, help="Accept the published development key.")
@click.option("--out", type=OUTPUT_FILE, required=True, help="Intel HEX to write.")
def merge(
    path: Path,
    base: Path,
    identity: Path | None,
    public_key: str | None,
    development: bool,
    out: Path,
) -> None:
    """Put MicroPython, an image and a card's segment into one HEX, for a production programmer."""
    trusted = read_public(public_key) if public_key else None
    good = verifying(path, trusted=trusted, development=development)
    board = boards.find(good.board)
    parts = [(int(good.manifest["address"]), good.read(".bin"))]
    segment = identity.read_bytes() if identity else b""
    data = merging(board, read_parts(base), parts, segment)
    out.write_bytes(data)
    console.out().print(f"{out}: {len(data):,} bytes, for {good.board}")


@image.command()
@options.one_board("Board of the cards.")
@click.option("--csv", "csv_file", type=_file, help="CSV file with a column serial.")
@click.option("--first", help="First of a run of serial numbers, such as TS00000001.")
@options.run_length
@click.option("--master-file", type=_file, help="File with the factory master, 32 hex digits.")
@click.option("--development", is_flag=True, help="Take the published development master.")
@click.option("--date", help="Date of manufacture, YYYYMMDD (default: today, UTC).")
@click.option("--out", type=_folder, required=True, help="Folder for the segments.")
def identity(
    board: str,
    csv_file: Path | None,
    first: str | None,
    count: int,
    master_file: Path | None,
    development: bool,
    date: str | None,
    out: Path,
) -> None:
    """Make the per-card segments: SERIAL.hex for programmers, SERIAL.bin for the emulator.

    They hold the cards' transport keys: treat them as the keys they are, and delete them once the
    cards are made.
    """
    if (csv_file is None) == (first is None):
        raise click.UsageError("Give --csv, or --first (with --count): one of the two.")
    if (master_file is None) != development:
        raise click.UsageError("Give --master-file, or --development for cards on a desk.")
    serials = cards.read_csv(csv_file) if csv_file else cards.running_numbers(first or "", count)
    master = cards.read_master(master_file) if master_file else Secret(DEVELOPMENT_MASTER)
    target = boards.find(board)
    with console.progress() as bar, master:
        task = bar.add_task("segments", total=len(serials))
        day = _date(date)
        for _ in cards.write_segments(target, serials, master=master, date=day, folder=out):
            bar.advance(task)
    made = "1 segment" if len(serials) == 1 else f"{len(serials):,} segments"
    console.out().print(f"{made} for {board} in {out}")


def _date(text: str | None) -> int:
    if text is None:
        return int(datetime.now(UTC).strftime("%Y%m%d"))
    try:
        return int(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).strftime("%Y%m%d"))
    except ValueError:
        raise BadInputError(f"{text} is not a date.", todo="Write it as YYYYMMDD.") from None
