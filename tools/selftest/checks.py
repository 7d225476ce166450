"""The checks of a card, one after another, over its serial line: docs/reference/boards.md."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tallystick.common.errors import RefusedError, TallyError
from tallystick.provisioning.card.connection import (
    CardConnection,
    CommandApdu,
    Response,
    StatusWord,
    Transmitter,
)
from tallystick.provisioning.card.issuer import (
    CellState,
    FirmwareVersion,
    IssuerSession,
    LifeCycle,
)
from tallystick.provisioning.card.t1 import Waiting
from tallystick.tools.flash.field import running
from tallystick.tools.image.header import Header

INS_SELF_TEST = 0xEE
DARK, PATTERN, BUTTON, FLASH, HEAP = range(5)
_CHALLENGE = 32
_CHALLENGES = 64
_CELL_MV = (2_000, 3_700)  # what a board can say of a cell or a bench supply


class CheckVerdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check and what it found. `detail` never holds a secret. values: what it measured, by a
    name that has the unit."""

    name: str
    verdict: CheckVerdict
    detail: str
    seconds: float
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TestedBoard:
    """What was tested. image: of the firmware that runs, None when its slot says nothing."""

    serial: str
    version: FirmwareVersion
    image: Header | None
    checks: list[Check]

    @property
    def good(self) -> bool:
        return all(check.verdict is not CheckVerdict.FAILED for check in self.checks)

    @property
    def summary(self) -> str:
        """For a person: a test that was partly skipped does not say that all has passed."""
        if not self.good:
            return "failed"
        skipped = [check.name for check in self.checks if check.verdict is CheckVerdict.SKIPPED]
        return f"passed, without {' and '.join(skipped)}" if skipped else "passed"


class Tester(Protocol):
    """Somebody who looks and presses."""

    def sees(self, what: str) -> bool:
        """Whether the display shows it."""

    def press(self) -> None:
        """Ask for a press; called again while the card waits."""


Finding = tuple[CheckVerdict, str]


def run(
    connection: CardConnection,
    person: Tester | None,
    *,
    transmitter: Transmitter | None = None,
    on_check: Callable[[Check], None] = lambda check: None,
) -> TestedBoard:
    """All checks. person: None skips those that need one. transmitter: a secure channel of the
    firm, for a card in service. A check that fails does not end the others. Raises RefusedError
    for a card in service without such a channel."""
    session = IssuerSession(connection)
    serial, version = session.serial(), session.version()
    if transmitter is None and session.life_cycle() >= LifeCycle.SECURED:
        raise RefusedError(
            f"Card {serial} is in service, and is tested by its firm only.",
            kept="Nothing was tested.",
            todo="Give the firm's keys: --keys FILE.",
        )
    tester = _Tester(transmitter or connection, session, person)
    checks = []
    for name, check in tester.checks():
        begin = time.monotonic()
        tester.values = {}
        try:
            verdict, detail = check()
        except TallyError as error:
            verdict, detail = CheckVerdict.FAILED, error.what
        checks.append(
            Check(name, verdict, detail, round(time.monotonic() - begin, 2), tester.values)
        )
        on_check(checks[-1])
    return TestedBoard(serial, version, running(connection).header, checks)


class _Tester:
    def __init__(
        self, transmitter: Transmitter, session: IssuerSession, person: Tester | None
    ) -> None:
        self._transmitter = transmitter
        self._session = session
        self._person = person
        self.values: dict[str, float] = {}  # of the check under way

    def checks(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        yield "display", self._display
        yield "button", self._button
        yield "cell", self._cell
        yield "flash", self._flash
        yield "randomness", self._randomness
        yield "heap", self._heap

    def _ask(self, part: int, waiting: Waiting | None = None) -> Response:
        return self._transmitter.transmit(CommandApdu(0x80, INS_SELF_TEST, part), waiting)

    def _display(self) -> Finding:
        self._ask(PATTERN).require("show its test pattern")
        try:
            if self._person is None:
                return CheckVerdict.SKIPPED, "shown; nobody looked"
            if self._person.sees("a frame, a checkerboard and both diagonals, without gaps"):
                return CheckVerdict.PASSED, "frame, checkerboard and diagonals seen"
            return CheckVerdict.FAILED, "the pattern is not as it should be"
        finally:
            self._ask(DARK).require("clear its display")

    def _button(self) -> Finding:
        if self._person is None:
            return CheckVerdict.SKIPPED, "nobody to press it"
        response = self._ask(BUTTON, Waiting(self._person.press))
        if response.sw == StatusWord.CONDITIONS_NOT_SATISFIED:
            return CheckVerdict.FAILED, "no press came within 30 s"
        response.require("read its button")
        return CheckVerdict.PASSED, "pressed and let go"

    def _cell(self) -> Finding:
        cell = self._session.cell()
        detail = f"{cell.loaded_mv} mV under load"
        self.values["cell_mv"] = cell.loaded_mv
        low, high = _CELL_MV
        if not low <= cell.loaded_mv <= high:
            return CheckVerdict.FAILED, f"{detail}: outside {low} to {high} mV"
        if cell.state is CellState.CRITICAL:
            return CheckVerdict.FAILED, f"{detail}: critical"
        return CheckVerdict.PASSED, detail

    def _flash(self) -> Finding:
        response = self._ask(FLASH)
        if response.sw == StatusWord.CONDITIONS_NOT_SATISFIED:
            return CheckVerdict.SKIPPED, "only on a card that holds nothing yet"
        if response.sw == StatusWord.FLASH_FAILURE:
            return CheckVerdict.FAILED, "a sector does not keep what is written to it"
        response.require("test its flash")
        return CheckVerdict.PASSED, "one sector erased, written and read, 55 and AA"

    def _randomness(self) -> Finding:
        samples = [self._session.get_challenge(_CHALLENGE) for _ in range(_CHALLENGES)]
        fault = randomness_fault(samples)
        if fault:
            return CheckVerdict.FAILED, fault
        size = _CHALLENGE * _CHALLENGES
        return CheckVerdict.PASSED, f"{size} bytes without a sign of a stuck or repeating source"

    def _heap(self) -> Finding:
        data = self._ask(HEAP).require("tell its heap")
        total, needed = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:], "big")
        detail = f"{total:,} bytes given, {needed:,} needed"
        self.values["heap_bytes"] = total
        return (CheckVerdict.PASSED if total >= needed else CheckVerdict.FAILED), detail


def randomness_fault(samples: list[bytes]) -> str:
    """What is wrong with the samples, or "". Health tests, not a proof of entropy: repetition and
    proportion as in NIST SP 800-90B, section 4.4, over bytes, and a chi-square over all bytes.

    A good source fails with a probability below one in a million.
    """
    data = b"".join(samples)
    if len(set(samples)) < len(samples):
        return "the same answer came twice"
    longest = max(_runs(data))
    if longest >= 1 + math.ceil(30 / 8) + 1:
        return f"one byte came {longest} times in a row"
    counts = Counter(data)
    size = len(data)
    most = max(counts.values())
    if most > size / 256 + 8 * math.sqrt(size / 256) + 4:
        return f"one byte makes up {most} of {size}"
    ones = sum(byte.bit_count() for byte in data)
    if abs(ones - 4 * size) > 5.2 * math.sqrt(2 * size):
        return f"{ones} of {8 * size} bits are ones"
    expected = size / 256
    chi = sum((counts.get(value, 0) - expected) ** 2 / expected for value in range(256))
    if not 255 - 5.5 * math.sqrt(510) < chi < 255 + 6.5 * math.sqrt(510):
        return f"chi-square over bytes is {chi:.0f}, around 255 is right"
    return ""


def _runs(data: bytes) -> Iterator[int]:
    length = 0
    for before, byte in zip(b"\0" + data, data, strict=False):
        length = length + 1 if byte == before and length else 1
        yield length
