"""`tally flash --lock`: what a board would be locked with, and burning it."""

from __future__ import annotations

from pathlib import Path

import click

from tallystick.common import console
from tallystick.common.errors import BadInputError
from tallystick.tools.flash.job import Job
from tallystick.tools.image.merge import read_parts
from tallystick.tools.line.locking import (
    BootRowsLocker,
    Locker,
    OptionBytesLocker,
    confirm,
    nothing_to_lock,
    refuse_development,
    rows,
)
from tallystick.tools.line.named import NamedSerials
from tallystick.tools.lock import boot_key as boot_keys


def lock_board(
    job: Job,
    read_out: int,
    boot_key: Path | None,
    boot_image: Path | None,
    out: Path | None,
    serial: str | None,
    as_json: bool,
) -> None:
    """Says it; burns it when `serial` names the board, alone or with others. Raises TallyError."""
    refuse_development(job.folder)
    words, files, boot = _plan(job, read_out, boot_key, boot_image)
    if out is not None:
        _write(out, files)
    show = console.err()
    if not as_json:
        show.print(f"For ever, into a {job.device} on {job.board.name}:")
        for line in words:
            show.print(f"  {line}")
    done = None
    if serial is not None:
        locker = _locker(job, read_out, boot, files)
        done = confirm(job.board, locker, job, NamedSerials.parse(serial))
        locker.burn(lambda what: show.print(f"  [bold]burning[/] {what}"))
    if as_json:
        result = {"board": job.board.name, "burnt": words if done else [], "serial": done}
        console.print_json({**result, "would_burn": words, "files": sorted(files)})
    elif done:
        console.out().print(f"{done} on {job.board.name}: locked for ever")
    else:
        show.print("Nothing was burnt. Add --yes-for-ever with the board's serial number.")


def _plan(
    job: Job, read_out: int, boot_key: Path | None, boot_image: Path | None
) -> tuple[list[str], dict[str, bytes], bytes]:
    """What is said, the files of rows, and the boot image as it is written."""
    if job.board.chip.lock == "option bytes":
        return list(OptionBytesLocker.planned(job.board, read_out)), {}, b""
    if not job.board.chip.lock:
        raise nothing_to_lock(job.board)
    if boot_key is None or boot_image is None:
        raise click.UsageError(f"{job.board.name} is locked with --boot-key and --boot-image.")
    boot = boot_image.read_bytes()
    parts = read_parts(boot_image)
    if len(parts) != 1 or parts[0][0] != job.board.chip.flash_base:
        raise BadInputError(f"{boot_image} is no boot image for {job.board.name}.")
    lock = rows(job.board, parts[0][1], boot_keys.read(boot_key))
    return list(lock.words), lock.files, boot


def _locker(job: Job, read_out: int, boot: bytes, files: dict[str, bytes]) -> Locker:
    if job.board.chip.lock == "option bytes":
        return OptionBytesLocker(job.board, read_out)
    return BootRowsLocker(job.board, boot, files)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
