"""What is written to a board, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board, Region
from tallystick.tools.flash.kept_state import KeptState, newest_state
from tallystick.tools.image.header import SIZE, Header, StateFormats
from tallystick.tools.image.state_formats import card_sizes
from tallystick.tools.image.verify import Verified

_KEPT = "Nothing was written to the board."

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all)"""


@dataclass(frozen=True)
class Job:
    """`data` goes to the start of the board's storage area; `erased` is made blank: the boot
    record, or a slot that was updated in the field would still be the one that runs."""

    board: Board
    device: str
    version: str
    security: int
    data: bytes
    erased: Region | None
    folder: Verified
    formats: StateFormats
    extra: tuple[tuple[int, bytes], ...] = ()  # (address as the chip sees it, content), besides

    @classmethod
    def of(cls, image: Verified) -> Job:
        """Raises BadInputError for an image larger than the board's area for it."""
        board = find(image.board)
        data = image.read(".bin")
        if len(data) > board.file_system.size:
            raise BadInputError("The image is larger than the board's area for it.")
        return cls(
            board, image.device, image.version, image.security, data, board.record, image,
            image.formats,
        )  # fmt: skip

    @property
    def address(self) -> int:
        """Of `data`, as the chip sees it."""
        return self.board.storage_address

    @property
    def parts(self) -> list[tuple[int, bytes]]:
        """(address, content) of what flash must hold afterwards: a blank boot record, the image,
        and what goes with it."""
        parts = [(self.address, self.data), *self.extra]
        if self.erased is not None:
            address = self.board.chip.flash_base + self.erased.address
            parts.insert(0, (address, b"\xff" * self.erased.size))
        return parts


class Target(Protocol):
    """One board at hand, over one protocol."""

    name: str  # of the port, drive or probe, for people
    read_back: bool  # whether it can tell what is in flash

    def identify(self) -> str:
        """The board's own name for itself. Raises NoDeviceError."""

    def expected(self, board: Board) -> str:
        """What `identify` contains for this board."""

    def unique(self) -> str:
        """The chip's own number; empty where this way does not tell it."""

    def read(self, board: Board, region: Region) -> bytes:
        """What a part of its flash holds; empty where it cannot tell. Raises NoDeviceError,
        RefusedError."""

    def write(self, job: Job, progress: Progress) -> None:
        """Raises NoDeviceError, RefusedError."""

    def verify(self, job: Job, progress: Progress) -> None:
        """Reads all of it back. Raises RefusedError when it differs."""

    def restart(self) -> None: ...

    def close(self) -> None: ...


def headers(target: Target, board: Board) -> list[Header]:
    """Of the images in the board's slots, as far as they can be read."""
    read = [target.read(board, Region(slot.address, SIZE)) for slot in board.slots]
    return [header for header in map(Header.decode, read) if header is not None]


def _refuse_state(job: Job, target: Target, found: list[Header]) -> None:
    """An image that cannot read what the board keeps would leave it dead, or a young one. A
    reader's state is sealed: the newest that an image in its slots writes stands for it."""
    number = None
    if job.device == "card":
        kept = newest_state(target.read(job.board, job.board.journal))
        if kept is not None:
            _refuse_strange(kept)
            number = kept.format
    elif found:
        number = max(header.formats.newest for header in found)
    if number is not None and not job.formats.read(number):
        raise RefusedError(
            f"The board's state has format {number}; the image reads {job.formats}.",
            kept="Nothing was written to the board, and nothing of its state is lost.",
            todo="Use an image of the board's own version or a newer one.",
        )


def _refuse_strange(kept: KeptState) -> None:
    """A number that we know, and another length than it has: no firmware of ours takes it."""
    sizes = card_sizes()
    if 0 < kept.format <= len(sizes) and kept.size != sizes[kept.format - 1]:
        raise RefusedError(
            f"The board's state says that it has format {kept.format}, and is {kept.size} bytes "
            f"long: that format has {sizes[kept.format - 1]}.",
            kept="Nothing was written to the board, and nothing of its state is lost.",
            todo="Use an image of the firmware that wrote it: whoever made this board has it.",
        )


def refuse_device(job: Job, device: str | None) -> None:
    """Raises RefusedError when the image is for another one than the caller means to make."""
    if device is not None and device != job.device:
        raise RefusedError(
            f"The image is for a {job.device}, not for a {device}.",
            kept=_KEPT,
            todo=f"Build one: tally image build --device {device}.",
        )


def check(
    job: Job, target: Target, *, device: str | None, downgrade: bool, other: bool = False
) -> str:
    """The board's own name, when the job may be written to it. device: what the caller means to
    make, "card" or "reader". downgrade, other: what the caller knows to be right all the same.
    Raises RefusedError before anything is written."""
    refuse_device(job, device)
    kept = _KEPT
    name = target.identify()
    expected = target.expected(job.board)
    found = headers(target, job.board) if other or expected in name else []
    names = [f"{one.device} on {one.board}" for one in found]
    strange = [one for one in names if one != f"{job.device} on {job.board.name}"]
    if not other and (expected not in name or strange):
        says = f"has been a {strange[0]}" if strange else f"says it is {name}"
        raise RefusedError(
            f"The image is for a {job.device} on {job.board.name}; the board on {target.name} "
            f"{says}.",
            kept=kept,
            todo="Build the image for that board, connect the right one, or say --allow-board if "
            "you know that they fit.",
        )
    newest = max((header.security for header in found), default=0)
    if job.security < newest and not downgrade:
        raise RefusedError(
            f"The image has security version {job.security}; the board has had {newest}.",
            kept=kept,
            todo="Use a newer image, or say --allow-downgrade if you know that this one is safe.",
        )
    _refuse_state(job, target, found)
    return name
