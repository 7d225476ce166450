"""One programmer of a line, board after board: each is written, read back, tested, locked and
labelled, and each step is in the book before and after it."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from tallystick.common.errors import RefusedError, TallyError
from tallystick.common.identity import MAGIC, Identity
from tallystick.common.reader_identity import MAGIC as READER_MAGIC
from tallystick.common.reader_identity import MAGIC_BURNT as READER_BURNT
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.common.secret import Secret
from tallystick.emulator.boards.board import Region
from tallystick.provisioning.labels import layout, zpl
from tallystick.provisioning.server_link import ServerLink
from tallystick.tools.flash.job import Job, Target, check
from tallystick.tools.image.cards import running_numbers
from tallystick.tools.line.book import BoardState, LineBoard, LineBook, NoNumberError
from tallystick.tools.line.jobfile import LineJob
from tallystick.tools.line.locking import KEPT, Locker

_SERIAL = slice(5, 15)
_DPI = 203
Keys = Callable[[str], Secret]
"""Serial number → transport keys, 48 bytes."""
Segments = Callable[[str], bytes]
"""Serial number → the board's own segment."""


SelfTest = Callable[[str], None]
"""Takes the serial number of the board at hand. Raises RefusedError outside the limits."""


@dataclass(frozen=True)
class LineTools:
    """What a programmer has at hand. `open_target` connects the board that lies there. locked: the
    serial numbers that may be locked for ever."""

    open_target: Callable[[], Target]
    segment: Segments
    locker: Callable[[Job], Locker] | None = None
    locked: Container[str] = ()
    selftest: SelfTest | None = None


@dataclass(frozen=True)
class MadeBoard:
    """What became of the board that was connected. `serial` is empty when it got none."""

    serial: str
    result: str
    error: str
    seconds: float

    @property
    def good(self) -> bool:
        return not self.error


class SharedNumbers(ServerLink):
    """A range that several stations draw from, through the server (POST /v1/serials)."""

    def reserve(self, request: str, first: str, count: int) -> list[str]:
        """Raises RegistryRefusedError, OutcomeUnknownError: then the same request is asked again
        later, and gives the same numbers."""
        body = {"request": request, "first": first, "count": count}
        given = self._call("POST", "/v1/serials", doing="give serial numbers", json=body)
        return running_numbers(str(given["first"]), int(given["count"]))

    def range_of(self) -> str:
        """Whose numbers they are: the server's address and the firm, whichever of its credentials
        asks. Raises as `reserve`."""
        who = self._call("GET", "/v1/whoami", doing="accept this station's credential")
        return f"{who.get('firm')} at {self.url}"


class Programmer:
    """One place of the line. numbers: of a shared range; without it the job's own are given. Raises
    RefusedError for a job that was begun with other keys."""

    def __init__(
        self, job: LineJob, book: LineBook, tools: LineTools, numbers: SharedNumbers | None = None
    ) -> None:
        self._job = job
        self._book = book
        self._tools = tools
        self._numbers = numbers
        self._flash = job.flash
        book.hold("keys", _mark(tools.segment(job.first)))
        if numbers is None:
            book.add_numbers(job.numbers())

    @property
    def full(self) -> bool:
        """Whether the job's boards are all made, or given up: one that failed may come again."""
        return self._free() == 0 and not self._book.unfinished()

    def _free(self) -> int:
        if self._numbers is None:
            return self._book.free()
        account = self._book.account()
        return self._job.count - (sum(account.values()) - account["free"])

    def make(self) -> MadeBoard:
        """The board that is connected. Never raises a TallyError: the result has it, and the book
        what is to be known of the board."""
        begin = time.monotonic()
        serial, error, result = "", "", "failed"
        try:
            self._job.refuse_change()
            target = self._tools.open_target()
            try:
                board = self._begin(target)
                serial = board.serial
                result = "done before"
                if board.state is not BoardState.DONE:
                    result = "failed"
                    self._finish(target, board)
                    result = "done"
            finally:
                target.close()
        except TallyError as failure:
            error = str(failure)
            if serial:
                self._book.fail(serial, error)
        return MadeBoard(serial, result, error, round(time.monotonic() - begin, 1))

    def resume(self) -> list[str]:
        """After a stop: boards that cannot be told any more are given up, and one that was locked
        gets its label. The serial numbers that were given up."""
        for board in self._book.boards():
            if board.state is BoardState.LOCKED:
                self._label(board.serial)
                self._book.mark(board.serial, BoardState.DONE)
        return self._book.give_up_unknown()

    def _begin(self, target: Target) -> LineBoard:
        check(self._flash, target, device=self._job.image.device, downgrade=False)
        board = self._flash.board
        told = serial_in(target.read(board, Region(board.identity.address, _SERIAL.stop)))
        chip = target.unique()
        while True:
            try:
                return self._book.begin(chip, told)
            except NoNumberError:
                if self._numbers is None or not self._free():
                    raise
                self._ask(self._numbers)

    def _ask(self, numbers: SharedNumbers) -> None:
        """A run of numbers from the server, by a name that is in the book before it is asked."""
        self._book.hold("server and firm", numbers.range_of())
        asked = min(self._job.at_once, self._free())
        request, first, count = self._book.open_request(
            self._job.first, asked, secrets.token_hex(16)
        )
        self._book.add_numbers(numbers.reserve(request, first, count), request)

    def _finish(self, target: Target, board: LineBoard) -> None:
        serial = board.serial
        if self._tools.locker is not None and serial not in self._tools.locked:
            raise RefusedError(
                f"{serial} would be locked for ever, and --yes-for-ever does not name it.",
                kept="Nothing was written to the board, and nothing burnt.",
                todo="Name every number that this line may get.",
            )
        job = self._with_segment(serial)
        if board.state not in (BoardState.LOCKING, BoardState.LOCKED):
            self._write(target, job, serial)
        if self._tools.locker is not None and board.state is not BoardState.LOCKED:
            self._lock(self._tools.locker(job), job, serial)
        self._label(serial)
        self._book.mark(serial, BoardState.DONE)

    def _write(self, target: Target, job: Job, serial: str) -> None:
        target.write(job, lambda done, total: None)
        target.verify(job, lambda done, total: None)
        target.restart()
        self._book.mark(serial, BoardState.WRITTEN)
        if self._tools.selftest is not None:
            self._tools.selftest(serial)
            self._book.mark(serial, BoardState.TESTED)

    def _with_segment(self, serial: str) -> Job:
        """The image, MicroPython and the board's own segment."""
        flash, board = self._flash, self._flash.board
        address = board.chip.flash_base + board.identity.address
        return replace(flash, extra=(*self._job.base, (address, self._tools.segment(serial))))

    def _lock(self, locker: Locker, job: Job, serial: str) -> None:
        if locker.locked():
            raise RefusedError("The board is locked already.", kept=KEPT)
        locker.check(job)
        self._book.mark(serial, BoardState.LOCKING)
        locker.burn(lambda what: None)
        self._book.mark(serial, BoardState.LOCKED)

    def _label(self, serial: str) -> None:
        """A file for the label printer, ZPL; made anew, it is the same."""
        folder = self._job.labels
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        stock = layout.STOCKS[self._job.stock]
        drawing = layout.draw(serial, stock, self._job.name, dot=zpl.dot_mm(_DPI))
        (folder / f"{serial}.zpl").write_text(zpl.write([drawing], _DPI), encoding="utf-8")


def _mark(segment: bytes) -> str:
    """What tells two masters apart, wherever they are kept, and nothing of either: a part of a hash
    over three keys."""
    return hashlib.sha256(b"tally line" + segment).hexdigest()[:16]


def of_cards(keys: Keys, date: int) -> Segments:
    """date: YYYYMMDD as a number."""
    return lambda serial: Identity(serial, date, keys(serial)).encode()


def of_readers(batch: tuple[Secret, bytes]) -> Segments:
    """batch: private key and certificate, which all its readers share."""
    return lambda serial: ReaderIdentity(serial, batch[1], batch[0]).encode()


def serial_in(segment: bytes) -> str:
    """The serial number that a board's flash tells, or nothing."""
    if segment[:5] not in (MAGIC, READER_MAGIC, READER_BURNT):
        return ""
    return segment[_SERIAL].decode("ascii", "replace")
