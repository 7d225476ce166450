"""`tally flash`: an image onto a board, or onto a tray of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click
from rich.progress import Progress

from tallystick.common import console
from tallystick.common.errors import ExitCode, NoDeviceError
from tallystick.common.paths import OUTPUT_FILE
from tallystick.emulator.boards.board import Board
from tallystick.provisioning.commands.passphrase import passphrase_option
from tallystick.tools.flash.drive import DriveTarget, drives
from tallystick.tools.flash.job import Job, Target, refuse_device
from tallystick.tools.flash.programs import DfuTarget, OpenOcdTarget
from tallystick.tools.flash.repl import ReplTarget, ports
from tallystick.tools.flash.tray import FlashOutcome, Tally, flash_one
from tallystick.tools.image.keys import read_public
from tallystick.tools.image.verify import verify
from tallystick.tools.line.cli_lock import lock_board
from tallystick.tools.line.jobfile import LineJob
from tallystick.tools.line.locking import LockWish

_file = click.Path(path_type=Path, dir_okay=False, exists=True)
_folder = click.Path(path_type=Path, file_okay=False)
_BEEP_GOOD, _BEEP_BAD = "\a", "\a\a\a"


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--board", help="Board you mean to flash; refused when the image is for another.")
@click.option("--device", type=click.Choice(["card", "reader"]), help="Device you mean to make.")
@click.option("--port", help="Serial port with a MicroPython prompt, or auto.")
@click.option("--drive", help="Drive of a boot ROM that takes UF2 files, or auto.")
@click.option("--program", type=click.Choice(["openocd", "dfu-util"]), help="Write with this.")
@click.option("--public-key", help="Key the image must be signed with: 64 hex digits, or a file.")
@click.option("--development", is_flag=True, help="Accept the published development key.")
@click.option("--allow-downgrade", is_flag=True, help="Below the board's anti-rollback version.")
@click.option("--allow-board", is_flag=True, help="Although the board says that it is another.")
@click.option(
    "--tray",
    is_flag=False,
    flag_value="",
    metavar="[JOBFILE]",
    help="One board after another; with a job's file, all that it says.",
)
@click.option("--place", help="This programmer's name in the job's book (default: the host's).")
@click.option("--operator", help="Who works here (default: your user name).")
@click.option("--boards", type=click.IntRange(1), help="Stop after so many, and do not ask.")
@passphrase_option
@click.option("--log", type=OUTPUT_FILE, help="Add a JSON line for each board.")
@click.option("--lock", is_flag=True, help="Say what a flashed board would be locked with.")
@click.option(
    "--read-out",
    type=click.Choice(["1", "2"]),
    help="Level of read-out protection (default: 2).",
)
@click.option("--boot-key", type=_file, help="Key of the chip's secure boot, PEM.")
@click.option("--boot-image", type=_file, help="Its MicroPython, signed: tally image boot.")
@click.option("--out", type=_folder, help="Write the rows that are burnt into this folder.")
@click.option(
    "--yes-for-ever",
    metavar="SERIALS",
    help="Burn the lock into these boards: SERIAL, FIRST-LAST, with commas; or @FILE.",
)
@console.json_option
def flash(
    image: Path | None,
    board: str | None,
    device: str | None,
    port: str | None,
    drive: str | None,
    program: str | None,
    public_key: str | None,
    development: bool,
    allow_downgrade: bool,
    allow_board: bool,
    tray: str | None,
    place: str | None,
    operator: str | None,
    boards: int | None,
    passphrase_file: Path | None,
    log: Path | None,
    lock: bool,
    read_out: str | None,
    boot_key: Path | None,
    boot_image: Path | None,
    out: Path | None,
    yes_for_ever: str | None,
    as_json: bool,
) -> None:
    """Write IMAGE (a folder that `tally image build` made) to a board, and read it back.

    Without IMAGE it is build/DEVICE-BOARD, where `tally image build` puts it. Serial number, keys,
    seed and moving factor of a card are not touched. With --lock nothing is written: what would be
    burnt is said in words, and burnt only with --yes-for-ever.
    """
    if tray:
        if any((image, board, device, program, public_key, development, allow_downgrade,
                allow_board, log, lock, read_out, boot_key, boot_image, out)):  # fmt: skip
            raise click.UsageError("A job says itself what is written, and what is locked.")
        # It needs the station's libraries, which one board does not.
        from tallystick.tools.line.cli_tray import work

        work(
            Path(tray), lambda job: _opener_of(job, port, drive), place=place, operator=operator,
            boards=boards, confirmed=yes_for_ever, passphrase_file=passphrase_file,
            as_json=as_json,
        )  # fmt: skip
        return
    _refuse_idle(
        {
            "--place, --operator and --boards go with a job: --tray JOBFILE.": (
                place, operator, boards,
            ),
            "--lock writes nothing, and finds its board itself.": lock and (
                port, drive, program, log, allow_downgrade, allow_board, tray is not None,
            ),
            "--yes-for-ever goes with --lock, or with a job that locks.": not lock and (
                yes_for_ever is not None,
            ),
            "--read-out, --boot-key, --boot-image and --out go with --lock.": not lock and (
                read_out, boot_key, boot_image, out,
            ),
            "Give one of --port, --drive and --program.": not lock and (
                sum(way is not None for way in (port, drive, program)) != 1,
            ),
        }
    )  # fmt: skip
    if image is None:
        if board is None:
            raise click.UsageError("Give IMAGE, or --board.")
        image = Path("build") / f"{device or 'card'}-{board}"
    good = verify(
        image, trusted=read_public(public_key) if public_key else None, development=development
    )
    job = Job.of(good)
    if board is not None and board != job.board.name:
        raise click.UsageError(f"The image is for {job.board.name}, not for {board}.")
    if lock:
        refuse_device(job, device)
        wish = LockWish(None if read_out is None else int(read_out), boot_key, boot_image)
        lock_board(job, wish, out, yes_for_ever, as_json)
        return
    opener = _opener(job.board, port, drive, program)
    tally = Tally()
    while True:
        with console.progress(disable=as_json) as bar:
            bar.add_task(f"board {len(tally.outcomes) + 1}", total=None)
            outcome = flash_one(
                job,
                opener,
                tally,
                device=device,
                downgrade=allow_downgrade,
                other=allow_board,
                progress=_advance(bar),
                log=log,
            )
        _tell(outcome, tally, tray is not None, as_json)
        if tray is None or not _next():
            break
    if as_json:
        console.print_json([asdict(outcome) for outcome in tally.outcomes])
    if tally.failed:
        raise SystemExit(ExitCode.FAILED)


def _refuse_idle(words: dict[str, tuple[object, ...] | Literal[False]]) -> None:
    """A word that does nothing may be a lock that nobody sets, or one that nobody wants. words:
    what is said of them → those that were given. Raises UsageError."""
    for why, given in words.items():
        if given and any(given):
            raise click.UsageError(why)


def _advance(bar: Progress) -> Callable[[int, int], None]:
    return lambda done, total: bar.update(bar.task_ids[0], completed=done, total=total)


def _tell(outcome: FlashOutcome, tally: Tally, tray: bool, as_json: bool) -> None:
    show = console.err()
    if outcome.result == "failed":
        show.print(f"[bold red]failed[/] board {outcome.number}: {outcome.error}")
    elif not as_json:
        show.print(
            f"[green]{outcome.result}[/] board {outcome.number}: {outcome.says}, {outcome.device} "
            f"{outcome.version}, {outcome.seconds} s"
        )
        if outcome.result == "written":
            show.print("  Not read back: its boot ROM does not tell what is in flash.")
        if not outcome.compared:
            show.print("  No downgrade would have been noticed: it tells no security version.")
    if tray:
        click.echo(_BEEP_BAD if outcome.result == "failed" else _BEEP_GOOD, nl=False, err=True)
        show.print(f"  {tally.good} good, {tally.failed} failed")


def _next() -> bool:
    return click.confirm("Next board connected?", default=True, err=True)


def _opener_of(job: LineJob, port: str | None, drive: str | None) -> Callable[[], Target]:
    """By the way that the job names; `auto` where the command names no port or drive."""
    board = job.flash.board
    if job.way in ("openocd", "dfu-util"):
        return _opener(board, None, None, job.way)
    if job.way == "drive":
        return _opener(board, None, drive or "auto", None)
    return _opener(board, port or "auto", None, None)


def _opener(
    board: Board, port: str | None, drive: str | None, program: str | None
) -> Callable[[], Target]:
    if program == "openocd":
        return lambda: OpenOcdTarget(board)
    if program == "dfu-util":
        return lambda: DfuTarget(board)
    if drive is not None:
        where = drive
        return lambda: DriveTarget(
            Path(where) if where != "auto" else Path(_only(drives(), "drive"))
        )
    line = port or ""
    return lambda: ReplTarget(line if line != "auto" else str(_only(ports(), "port")))


def _only(found: list[Path] | list[str], what: str) -> Path | str:
    if len(found) != 1:
        names = ", ".join(str(one) for one in found) or "none"
        raise NoDeviceError(
            f"There is not exactly one {what} with a board: {names}.",
            todo=f"Connect one board, or name the {what}.",
        )
    return found[0]
