"""Locking a board for ever: what is looked at before, what is burnt, what is looked at afterwards.

Nothing is burnt unless the board holds the image and the serial number that were named, and no
published key is in either.
"""

from __future__ import annotations

import subprocess
import tempfile
from binascii import crc32
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tallystick.common.errors import BadInputError, NoDeviceError, RefusedError
from tallystick.common.identity import DEVELOPMENT_MASTER, MAGIC, SIZE, Identity
from tallystick.common.reader_identity import MAGIC as READER_MAGIC
from tallystick.common.reader_identity import MAGIC_BURNT as READER_BURNT
from tallystick.common.reader_identity import ReaderIdentity, segment_size
from tallystick.emulator.boards.board import Board, Region
from tallystick.tools.flash.job import Job
from tallystick.tools.flash.programs import OpenOcdTarget, require
from tallystick.tools.image.merge import read_parts
from tallystick.tools.image.verify import Verified
from tallystick.tools.line.named import NamedSerials
from tallystick.tools.lock import boot_key as boot_keys
from tallystick.tools.lock import one_time, option_bytes, picobin
from tallystick.tools.lock.boot_key import BootKey

_TIMEOUT_S = 180
_SERIAL, _TRANSPORT = slice(5, 15), slice(15, 63)
_MOST_IDENTITY = 2048
KEPT = "Nothing was burnt."


@dataclass(frozen=True)
class RowsLock:
    """words: what would be burnt, a line each. files: name → content, for picotool."""

    board: Board
    words: tuple[str, ...]
    files: dict[str, bytes]


@dataclass(frozen=True)
class LockWish:
    """What a person says of a lock. read_out: level of an STM32, which has 2 where nothing is said.
    boot_key, boot_image: of an RP2350."""

    read_out: int | None
    boot_key: Path | None
    boot_image: Path | None


class Locker(Protocol):
    """One way to a board that can be locked."""

    name: str

    def read(self, board: Board, region: Region) -> bytes: ...

    def locked(self) -> bool:
        """Whether it was locked before. Raises NoDeviceError."""

    def check(self, job: Job) -> None:
        """Raises RefusedError when the board does not hold the image."""

    def burn(self, progress: Callable[[str], None]) -> None:
        """For ever. Raises RefusedError, NoDeviceError."""


class OptionBytesLocker:
    """Implements Locker for a chip with option bytes, through OpenOCD."""

    def __init__(self, board: Board, read_out: int) -> None:
        self._target = OpenOcdTarget(board)
        self._plan = option_bytes.plan(board, read_out)
        self.name = self._target.name

    @staticmethod
    def planned(board: Board, read_out: int) -> tuple[str, ...]:
        """What would be burnt, a line each; needs no probe."""
        plan = option_bytes.plan(board, read_out)
        return tuple(register.words for register in (*plan.first, plan.last))

    def read(self, board: Board, region: Region) -> bytes:
        return self._target.read(board, region)

    def locked(self) -> bool:
        return not self._plan.is_open(self._target.word(self._plan.last.address))

    def check(self, job: Job) -> None:
        self._target.verify(job, lambda done, total: None)

    def burn(self, progress: Callable[[str], None]) -> None:
        """Raises RefusedError when one is not taken: then nothing is locked yet."""
        first, last = self._plan.first, self._plan.last
        for register in first:
            progress(register.words)
        self._target.run(*(register.command() for register in first), "stm32l4x option_load 0")
        for register in first:
            if not register.holds(self._target.word(register.address)):
                raise RefusedError(
                    f"The board did not take this: {register.words}.",
                    kept="Read-out protection was not set, and everything can still be changed.",
                    todo="Try again; if it happens again, lay the board aside.",
                )
        progress(last.words)
        self._target.run(last.command(), "stm32l4x option_load 0")


class BootRowsLocker:
    """Implements Locker for a chip in its boot loader, through the program of its makers."""

    name = "picotool"

    def __init__(self, board: Board, boot: bytes, files: dict[str, bytes]) -> None:
        self._program = require("picotool")
        self._board = board
        self._boot = boot
        self._files = files

    def read(self, board: Board, region: Region) -> bytes:
        start = board.chip.flash_base + region.address
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "read.bin"
            self._run("save", "-r", f"{start:x}", f"{start + region.size:x}", str(path))
            return path.read_bytes() if path.is_file() else b""

    def locked(self) -> bool:
        return False  # one that was has no boot loader any more, and picotool finds nothing

    def check(self, job: Job) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in (("boot.uf2", self._boot), ("image.uf2", job.folder.read(".uf2"))):
                path = Path(folder) / name
                path.write_bytes(content)
                self._run("verify", str(path))

    def burn(self, progress: Callable[[str], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if self._board.device == "reader":
                self._move_attestation_key(Path(folder), progress)
            for name, content in self._files.items():
                path = Path(folder) / name
                path.write_bytes(content)
                progress(name)
                self._run("otp", "load", str(path))

    def _move_attestation_key(self, folder: Path, progress: Callable[[str], None]) -> None:
        """Out of the segment in plain flash, into rows of the chip. When it stops in between, the
        same command goes on. Raises RefusedError."""
        region = self._board.identity
        segment = self.read(self._board, Region(region.address, _MOST_IDENTITY))
        identity = ReaderIdentity.decode(segment[: segment_size(segment)])
        if identity.burnt:
            return
        rows = one_time.attestation(identity.key.reveal())
        path = folder / rows.name
        path.write_bytes(rows.encode())
        progress(rows.name)
        self._run("otp", "load", str(path))
        path.unlink()
        progress("the segment, without the attestation key")
        without = replace(identity, burnt=True).encode()
        path = folder / "segment.bin"
        path.write_bytes(without.ljust(region.size, b"\xff"))
        start = self._board.chip.flash_base + region.address
        self._run("load", "-v", str(path), "-t", "bin", "-o", f"{start:#x}")
        if self.read(self._board, Region(region.address, len(without))) != without:
            raise RefusedError(
                "The board's flash did not take its segment without the key.",
                kept="The key is in its rows; secure boot is not on yet.",
                todo="Write its segment again, and give the same command.",
            )

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
                encoding="utf-8",
            )
        except subprocess.TimeoutExpired:
            raise NoDeviceError(f"picotool did not end in {_TIMEOUT_S} s.") from None
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise RefusedError(
                f"picotool {arguments[0]} failed: {''.join(lines[-1:])}",
                todo="Connect the board with BOOTSEL held, and try again: it goes on.",
            )
        return done.stdout


def refuse_development(image: Verified) -> None:
    """Whatever the options say. Raises RefusedError."""
    if image.manifest.get("development"):
        raise RefusedError(
            "The image is signed with the published development key: nobody could ever replace it.",
            kept=KEPT,
            todo="Build with --key, flash that, and lock it then.",
        )


def nothing_to_lock(board: Board) -> BadInputError:
    """What is said of a board whose chip has no lock."""
    return BadInputError(
        f"{board.name} has nothing to be locked with.",
        kept=KEPT,
        todo="It is a development kit: ship a board whose chip has a lock (boards.md).",
    )


def rows(board: Board, boot: bytes, key: BootKey) -> RowsLock:
    """What a chip with secure boot is locked with. boot: the signed boot image, as it lies in
    flash. Raises BadInputError, RefusedError."""
    if board.chip.lock != "burnt rows":
        raise nothing_to_lock(board)
    plan = one_time.plan(key, attests=board.device == "reader")
    if picobin.signer(boot) != key.public:
        raise RefusedError(
            "The boot image is not signed with this boot key: the chip would never start again.",
            kept=KEPT,
            todo="Sign it: tally image boot BASE --boot-key FILE --out boot.uf2.",
        )
    words = tuple(words for file in plan for words in file.words)
    if board.device == "reader":
        words = (
            "the attestation key of its segment into page 52 of its rows, and out of its flash",
            *words,
        )
    return RowsLock(board, words, {file.name: file.encode() for file in plan})


@dataclass(frozen=True)
class LockPlan:
    """words: what would be burnt, a line each. files: of rows. open: the way to a board."""

    words: tuple[str, ...]
    files: dict[str, bytes]
    open: Callable[[], Locker]


def planned(board: Board, wish: LockWish) -> LockPlan:
    """What a wish comes to on a board. Raises TallyError for what could not be burnt, and for a
    word that this board's lock does not know: what is burnt would not be what was said."""
    boot_words = (wish.boot_key, wish.boot_image)
    if not board.chip.lock:
        raise nothing_to_lock(board)
    if board.chip.lock == "option bytes":
        if any(boot_words):
            raise _other_lock(
                board, "a boot key and a boot image", "a level of read-out protection"
            )
        level = wish.read_out or 2
        words = OptionBytesLocker.planned(board, level)
        return LockPlan(words, {}, lambda: OptionBytesLocker(board, level))
    if wish.read_out is not None:
        raise _other_lock(board, "a level of read-out protection", "a boot key and a boot image")
    if wish.boot_key is None or wish.boot_image is None:
        raise BadInputError(
            f"{board.name} is locked with its boot key and its signed boot image.",
            kept=KEPT,
            todo="Name both: --boot-key and --boot-image, or boot_key and boot_image in the job.",
        )
    boot, parts = wish.boot_image.read_bytes(), read_parts(wish.boot_image)
    if len(parts) != 1 or parts[0][0] != board.chip.flash_base:
        raise BadInputError(
            f"{wish.boot_image} is no boot image for {board.name}.",
            kept=KEPT,
            todo="Sign one: tally image boot BASE --boot-key FILE --out boot.uf2.",
        )
    lock = rows(board, parts[0][1], boot_keys.read(wish.boot_key))
    return LockPlan(lock.words, lock.files, lambda: BootRowsLocker(board, boot, lock.files))


def _other_lock(board: Board, said: str, has: str) -> BadInputError:
    return BadInputError(
        f"{board.name} is not locked with {said}, but with {has}.",
        kept=KEPT,
        todo="Leave that word out, or take the board that it is for.",
    )


def serial_of(board: Board, segment: bytes) -> str:
    """The serial number in a board's segment, which is whole and has no published key. Raises
    RefusedError."""
    serial = segment[_SERIAL].decode("ascii", "replace")
    if segment[:5] == MAGIC and board.device == "card":
        whole = segment[:SIZE]
    elif segment[:5] in (READER_MAGIC, READER_BURNT) and board.device == "reader":
        whole = segment[: segment_size(segment)]
    else:
        raise RefusedError(
            "The board has no serial number yet, and could never be given one.",
            kept=KEPT,
            todo="Write its segment first: tally image identity, tally image readers.",
        )
    if crc32(whole[:-4]) != int.from_bytes(whole[-4:], "little"):
        raise RefusedError(
            f"The segment of {serial} is damaged: the board would say for ever that it has none.",
            kept=KEPT,
            todo="Write its segment again, and give the same command.",
        )
    if _is_published(board, serial, whole):
        raise RefusedError(
            f"{serial} has the published development keys: anybody could speak for it.",
            kept=KEPT,
            todo="Give it a segment of your own factory master or attestation batch.",
        )
    if board.device == "reader":
        _need_identity(serial, whole)
    return serial


def _need_identity(serial: str, segment: bytes) -> None:
    """Raises RefusedError."""
    try:
        ReaderIdentity.decode(segment).check()
    except BadInputError as error:
        raise RefusedError(
            f"{serial}: {error.what}",
            kept=KEPT,
            todo="Write its segment again: tally image readers makes one.",
        ) from error


def _is_published(board: Board, serial: str, segment: bytes) -> bool:
    """Whether anybody has the keys in it; whatever else stands there."""
    if board.device == "reader":
        return ReaderIdentity.decode(segment).is_development
    return segment[_TRANSPORT] == Identity.derive(serial, 0, DEVELOPMENT_MASTER).transport.reveal()


def confirm(board: Board, locker: Locker, job: Job, named: NamedSerials) -> str:
    """The board's serial number, once everything is as it must be before something is burnt.
    named: by --yes-for-ever. Raises RefusedError, NoDeviceError."""
    if locker.locked():
        raise RefusedError(
            "The board is locked already.", kept=KEPT, todo="Nothing is left to be done."
        )
    size = min(board.identity.size, _MOST_IDENTITY)
    serial = serial_of(board, locker.read(board, Region(board.identity.address, size)))
    if serial not in named:
        raise RefusedError(
            f"The board is {serial}; --yes-for-ever says {named.said}.",
            kept=KEPT,
            todo="Connect the board that you mean, or name this one.",
        )
    locker.check(job)
    return serial
