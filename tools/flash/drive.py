"""The boot ROM of RP2 boards: a USB drive that takes a UF2 file (RP2040 data sheet, 2.8.4)."""

from __future__ import annotations

import os
from pathlib import Path

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.emulator.boards.board import Board, Region
from tallystick.tools import uf2
from tallystick.tools.flash.job import Job, Progress

INFORMATION = "INFO_UF2.TXT"
_PLACES = ("/media", "/run/media", "/Volumes", "/mnt")
_STEP = 64 * 1024


def drives(places: tuple[str, ...] = _PLACES) -> list[Path]:
    """Folders where a boot ROM's drive is mounted."""
    found = []
    for place in places:
        for pattern in ("*", "*/*"):
            found += [
                folder for folder in Path(place).glob(pattern) if (folder / INFORMATION).is_file()
            ]
    return sorted(found)


class DriveTarget:
    """Implements job.Target. The boot ROM tells nothing of what is in flash."""

    read_back = False

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder
        if not (folder / INFORMATION).is_file():
            raise NoDeviceError(
                f"{folder} is not the drive of a boot ROM: it has no {INFORMATION}.",
                todo="Hold BOOTSEL while you connect the board, and name the drive that appears.",
            )

    def identify(self) -> str:
        text = (self._folder / INFORMATION).read_text(errors="replace", encoding="utf-8")
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Board-ID":
                return value.strip()
        return "a board without a Board-ID"

    def expected(self, board: Board) -> str:
        """The drive's Board-ID. Raises RefusedError for a board whose boot ROM has no drive."""
        if not board.chip.drive:
            raise RefusedError(
                f"{board.name} takes no UF2 files.", todo="Use --program openocd or dfu-util."
            )
        return board.chip.drive

    def unique(self) -> str:
        return ""

    def read(self, board: Board, region: Region) -> bytes:
        return b""

    def write(self, job: Job, progress: Progress) -> None:
        """Progress in bytes. Raises RefusedError when the drive does not take the file."""
        content = job.folder.read(".uf2")
        if job.extra:
            family = job.board.chip.uf2_family
            assert family is not None  # else it has no drive
            content = uf2.encode_parts(job.parts, family)
        try:
            with (self._folder / f"{job.device}.uf2").open("wb") as file:
                for at in range(0, len(content), _STEP):
                    file.write(content[at : at + _STEP])
                    progress(min(at + _STEP, len(content)), len(content))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # The board restarts by itself once it has the last block, and the drive is gone.
            if self._folder.exists() and (self._folder / INFORMATION).exists():
                raise RefusedError(
                    f"The drive {self.name} took no file: {error.strerror}.",
                    todo="Connect the board again with BOOTSEL held.",
                ) from None

    def verify(self, job: Job, progress: Progress) -> None:
        progress(1, 1)  # nothing to read back: `tally selftest` asks the device itself

    def restart(self) -> None:
        """It does so by itself."""

    def close(self) -> None: ...
