"""The files that an emulated card, or a reader and its sensor, live in: what is programmed is in
them at the instant when it is, so that they outlive a process that is killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.chips.chip import OneTimeRows
from tallystick.emulator.parts.r503_flash import SensorFlash

_ROWS, _BITS = 4096, 24  # of one-time memory, and of each of them
_MOST = 1 << 22  # bytes that are read of a file: more is none that an emulator wrote


class KeptFiles:
    """`path` is the flash chip, and beside it `path.sensor` the sensor's memory, which holds
    biometric templates, and `path.rows` what was burnt into the microcontroller. descriptor: of
    the first one, for `NorFlash`. Raises BadInputError when one of them cannot be kept, or another
    reader lives in them."""

    def __init__(self, path: Path, size: int) -> None:
        self.descriptor = keep_flash(path, size)
        self.sensor = keep_sensor(path.with_name(path.name + ".sensor"))
        self._rows = _leads_to(path.with_name(path.name + ".rows"))

    def keep_rows(self, chip: OneTimeRows) -> None:
        """Of this chip. Raises BadInputError when they cannot be read, or not be kept."""
        _need_file(self._rows)
        try:
            rows = json.loads(_read(self._rows)) if self._rows.exists() else {}
            if not isinstance(rows, dict):
                raise ValueError("it is no table of rows")
            chip.rows = dict(_row(*pair) for pair in rows.items())
        except (OSError, ValueError, RecursionError) as error:
            raise BadInputError(
                f"{self._rows} cannot be read: {error}.",
                kept="The file was not touched, and no reader was started.",
                todo="Put it back as it was, or name another file.",
            ) from error

        def keep() -> None:
            os.close(_replace(self._rows, json.dumps(chip.rows).encode()))

        _first(keep, self._rows)
        chip.on_change = keep


def _row(name: str, bits: object) -> tuple[int, int]:
    """Of the file: row → its bits. Raises ValueError."""
    row = int(name)
    if row not in range(_ROWS) or type(bits) is not int or not 0 <= bits < 1 << _BITS:
        raise ValueError(f"there is no row {name} with {bits}")
    return row, bits


def _read(path: Path) -> bytes:
    """No more of it than could be ours. Raises OSError."""
    with path.open("rb") as file:
        return file.read(_MOST)


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
    if not found:
        _make_room(descriptor, path, size)
    return descriptor


def _make_room(descriptor: int, path: Path, size: int) -> None:
    """A blank flash, written: a map of a file that the disk has no room for would end us by a
    signal, at any time. Raises BadInputError; then it is closed."""
    try:
        if os.pwrite(descriptor, b"\xff" * size, 0) != size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)
        raise BadInputError(
            f"{path} cannot hold the {size} bytes of a flash: {error.strerror}.",
            kept="Nothing was started.",
            todo="Make room, or name a file elsewhere.",
        ) from error


def _leads_to(path: Path) -> Path:
    """What a link leads to is replaced, and not the link. One that leads to itself is one still."""
    return Path(os.path.realpath(path))


def _first(keep: Callable[[], None], path: Path) -> None:
    """Writes once at the start, so that what cannot be kept is not noticed hours later. Raises
    BadInputError."""
    try:
        keep()
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be written: {error.strerror}.",
            kept="Nothing was started.",
            todo="Name a file in a folder that is there and that you may write to.",
        ) from error


def _need_file(path: Path) -> None:
    """Raises BadInputError when something else has this name: it would be replaced, or waited
    for. What may not be looked at is told by who opens it."""
    try:
        odd = _leads_to(path).is_symlink() or (path.exists() and not path.is_file())
    except PermissionError:
        odd = False
    if odd:
        raise BadInputError(
            f"{path} is no file that something can be kept in.",
            kept="It was not touched, and nothing was started.",
            todo="Name a file.",
        )


def _replace(path: Path, content: bytes) -> int:
    """Whole or not at all, and for its owner's eyes only: templates, an attestation key. Its
    descriptor, locked. Raises OSError."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of one that was killed, or somebody else's with other rights
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        part.replace(path)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: Path) -> int:
    _need_file(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInputError(
            f"{path} cannot be opened to be kept: {error.strerror}.",
            kept="Nothing was started.",
            todo="Name a file in a folder that is there and that you may write to.",
        ) from error
    _lock(descriptor, path)
    return descriptor


def _lock(descriptor: int, path: Path) -> None:
    """Until it is closed. Raises BadInputError; then it is."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise BadInputError(
            f"Another emulator lives in {path}.",
            kept="The file was not touched.",
            todo="End that one, or name another file.",
        ) from error


def _read_sensor(path: Path) -> tuple[int, SensorFlash]:
    """Its file's descriptor, locked, and what is in it; (-1, a new one) when there is none. Raises
    BadInputError."""
    try:
        locked = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1, SensorFlash()
    except OSError as error:
        raise _unreadable(path, error) from error
    _lock(locked, path)
    try:
        return locked, SensorFlash.decode(_read(path))
    except BadInputError as error:
        os.close(locked)
        raise BadInputError(f"{path}: {error.what}", kept=error.kept, todo=error.todo) from error
    except OSError as error:
        os.close(locked)
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"{path} cannot be read: {error.strerror}.",
        kept="The file was not touched, and no sensor was started.",
        todo="Name another file.",
    )


def keep_sensor(path: Path) -> SensorFlash:
    """The sensor's memory, kept in a file. Raises BadInputError when it cannot be read or kept, or
    another emulator lives in it."""
    path = _leads_to(path)
    _need_file(path)
    locked, flash = _read_sensor(path)

    def keep() -> None:
        """In place of the file of before, which stays locked until this one is."""
        nonlocal locked
        before, locked = locked, _replace(path, flash.encode())
        if before >= 0:
            os.close(before)

    _first(keep, path)
    flash.on_write = keep
    return flash
