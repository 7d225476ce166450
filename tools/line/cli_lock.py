"""`tally flash --lock`: what a board would be locked with, and burning it."""

from __future__ import annotations

from pathlib import Path

from tallystick.common import console
from tallystick.tools.flash.job import Job
from tallystick.tools.line.locking import LockWish, confirm, planned, refuse_development
from tallystick.tools.line.named import NamedSerials


def lock_board(
    job: Job, wish: LockWish, out: Path | None, serial: str | None, as_json: bool
) -> None:
    """Says it; burns it when `serial` names the board, alone or with others. Raises TallyError."""
    refuse_development(job.folder)
    plan = planned(job.board, wish)
    if out is not None:
        _write(out, plan.files)
    show = console.err()
    if not as_json:
        show.print(f"For ever, into a {job.device} on {job.board.name}:")
        for line in plan.words:
            show.print(f"  {line}")
    done = None
    if serial is not None:
        locker = plan.open()
        done = confirm(job.board, locker, job, NamedSerials.parse(serial))
        locker.burn(lambda what: show.print(f"  [bold]burning[/] {what}"))
    if as_json:
        words = list(plan.words)
        result = {"board": job.board.name, "burnt": words if done else [], "serial": done}
        console.print_json({**result, "would_burn": words, "files": sorted(plan.files)})
    elif done:
        console.out().print(f"{done} on {job.board.name}: locked for ever")
    else:
        show.print("Nothing was burnt. Add --yes-for-ever with the board's serial number.")


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
