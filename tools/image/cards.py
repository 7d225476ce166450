"""Per-card segments: serial number, transport keys and date, for the programmer that makes a card.

The transport keys are diversified from the factory master (protocols.md, 3.3), so that the
master alone lets a station authenticate every card. Files with keys are readable by their owner
only.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.identity import Identity, check_serial
from tallystick.common.secret import Secret
from tallystick.emulator.boards.board import Board
from tallystick.tools.image.outputs import intel_hex

_RUNNING = re.compile(r"([0-9A-Z]*?)([0-9]+)")


def running_numbers(first: str, count: int) -> list[str]:
    """`count` serial numbers from `first` on. Raises BadInputError when the digits run out."""
    match = _RUNNING.fullmatch(check_serial(first))
    if match is None:
        raise BadInputError(
            f"{first} does not end in a digit, so it has no successor.",
            todo="Begin with one such as TS00000001.",
        )
    letters, digits = match.groups()
    last = int(digits) + count - 1
    if len(str(last)) > len(digits):
        raise BadInputError(
            f"There are no {count} serial numbers from {first} on: {len(digits)} digits run out.",
            todo="Begin lower, or with another prefix.",
        )
    return [f"{letters}{number:0{len(digits)}}" for number in range(int(digits), last + 1)]


def read_csv(path: Path) -> list[str]:
    """The column `serial` of a CSV file. Raises BadInputError for a bad or repeated number, with
    its line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if "serial" not in (rows.fieldnames or ()):
                raise BadInputError(
                    f"{path} has no column named serial.", todo="Name it in the first line."
                )
            serials = [(rows.line_num, (row["serial"] or "").strip()) for row in rows]
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    seen: dict[str, int] = {}
    for line, serial in serials:
        try:
            check_serial(serial)
        except BadInputError as error:
            raise BadInputError(f"{path}, line {line}: {error.what}", todo=error.todo) from None
        if serial in seen:
            raise BadInputError(
                f"{path}, line {line}: {serial} is also in line {seen[serial]}.",
                kept="Nothing was written.",
                todo="Give every card a number of its own.",
            )
        seen[serial] = line
    if not seen:
        raise BadInputError(f"{path} names no card.")
    return list(seen)


def write_segments(
    board: Board, serials: Iterable[str], *, master: Secret, date: int, folder: Path
) -> Iterator[str]:
    """Writes SERIAL.hex and SERIAL.bin for each card into `folder`; yields each serial number.

    date: YYYYMMDD. A file that is there already is never replaced: two cards with one serial number
    must not come about. Raises BadInputError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    address = board.chip.flash_base + board.identity.address
    for serial in serials:
        segment = Identity.derive(serial, date, master.reveal()).encode()
        _write_secret(folder / f"{serial}.hex", intel_hex([(address, segment)]))
        _write_secret(folder / f"{serial}.bin", segment)
        yield serial


def read_master(path: Path) -> Secret:
    """The factory master: 32 hex digits in a file. Raises BadInputError."""
    try:
        value = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        value = b""
    if len(value) != 16:
        raise BadInputError(
            f"{path} does not hold a factory master of 32 hex digits.",
            todo="Make one with: openssl rand -hex 16.",
        )
    return Secret(value)


def _write_secret(path: Path, data: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInputError(
            f"{path} exists already: this serial number was given to a card.",
            kept="It was not touched.",
            todo="Begin with the next free number, or write to another folder.",
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)
