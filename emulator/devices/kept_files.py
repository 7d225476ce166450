"""The files that an emulated card, or a reader and its sensor, live in: what is programmed is in
them at the instant when it is, so that they outlive a process that is killed."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.parts.r503_flash import SensorFlash

_ROWS, _BITS = 4096, 24  # of one-time memory, and of each of them


class KeptFiles:
    """`path` is the flash chip, and beside it `path.sensor` the sensor's memory, which holds
    biometric templates, and `path.rows` what was burnt into the microcontroller. descriptor: of
    the first one, for `NorFlash`. Raises BadInputError when one of them cannot be kept, or another
    reader lives in them."""

    def __init__(self, path: Path, size: int) -> None:
        self.descriptor = keep_flash(path, size)
        self.sensor = keep_sensor(path.with_name(path.name + ".sensor"))
        self._rows = path.with_name(path.name + ".rows")

    def keep_rows(self, chip: OneTimeRows) -> None:
        """Of this chip. Raises BadInputError when they cannot be read, or not be kept."""
        try:
            text = self._rows.read_text(encoding="utf-8") if self._rows.exists() else "{}"
            chip.rows = dict(_row(*pair) for pair in json.loads(text).items())
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadInputError(
                f"{self._rows} cannot be read: {error}.",
                kept="The file was not touched, and no reader was started.",
                todo="Put it back as it was, or name another file.",
            ) from error

        def keep() -> None:
            part = self._rows.with_name(self._rows.name + ".part")
            part.touch(mode=0o600)  # a locked reader's attestation key is among them
            part.write_text(json.dumps(chip.rows), encoding="utf-8")
            part.replace(self._rows)

        chip.on_change = keep


def _row(name: str, bits: object) -> tuple[int, int]:
    """Of the file: row → its bits. Raises ValueError, TypeError."""
    row = int(name)
    if row not in range(_ROWS) or not isinstance(bits, int) or not 0 <= bits < 1 << _BITS:
        raise ValueError(f"there is no row {name} with {bits}")
    return row, bits


def keep_flash(path: Path, size: int) -> int:
    """Descriptor of the file that a flash of `size` bytes lives in, for `NorFlash`. Raises
    BadInputError when it cannot be kept there, is another's, or another device lives in it."""
    descriptor = _open(path)
    found = os.fstat(descriptor).st_size
    if found not in (0, size):
        os.close(descriptor)
        raise BadInputError(
            f"{path} holds {found} bytes; the flash of this board has {size}.",
            kept="The file was not touched.",
            todo="Name another file, or the board that it came from.",
        )
    return descriptor


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be opened to be kept: {error.strerror}.",
            kept="Nothing was started.",
            todo="Name a file in a folder that is there and that you may write to.",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise BadInputError(
            f"Another emulator lives in {path}.",
            kept="The file was not touched.",
            todo="End that one, or name another file.",
        ) from error
    return descriptor


def keep_sensor(path: Path) -> SensorFlash:
    """The sensor's memory, kept in a file. Raises BadInputError when it cannot be read."""
    flash = SensorFlash.decode(path.read_bytes()) if path.is_file() else SensorFlash()

    def keep() -> None:
        part = path.with_name(path.name + ".part")
        part.touch(mode=0o600)
        part.write_bytes(flash.encode())
        part.replace(path)

    try:
        keep()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written: {error.strerror}.",
            kept="No sensor was started.",
            todo="Name a file in a folder that is there and that you may write to.",
        ) from error
    flash.on_write = keep
    return flash
