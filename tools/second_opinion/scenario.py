"""What is done to a card, step by step, for an opinion: the same to every chip.

A step returns what a person or a station got from it, as words: a code, an answer. The station's
part is the project's own client, with challenges that are the same in every run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from tallystick.common.errors import TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.emulator.seeing.reading import read_code
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.flash.field import Update, install
from tallystick.tools.image.build import build
from tallystick.tools.personalise import personalise_over, put_into_service
from tallystick.tools.second_opinion.chip import Chip
from tallystick.tools.second_opinion.cortex_system import ChipError

NEW_VERSION = "9.9.9"
FAILED = "failed"
"""How the result of a step begins that did not come to its end."""
_START_MS, _SETTLE_MS, _CODE_MS, _DARK_MS, _HOLD_MS = 3_000, 1_000, 10_000, 60_000, 2_500
_UNDOCKED_MS = 5_000  # until it sleeps again
_BETWEEN_MS = 700  # not where the display is due to be refreshed, every second
_PRESS_MS, _REACTION_MS = 120.0, 300.0
_BYTE_MS = 10_000 / 115_200


def entropy(name: str) -> Iterator[int]:
    """Bytes without end, the same for the same name."""
    number = 0
    while True:
        yield from hashlib.sha256(f"{name} {number}".encode()).digest()
        number += 1


@dataclass(frozen=True)
class SharedStation:
    """One station, asked twice: what it keeps is the same for both chips."""

    custody: SoftwareCustody
    update: Update


def station(board: str) -> SharedStation:
    return SharedStation(SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER)), _update(board))


@cache
def _update(board: str) -> Update:
    built = build("card", board, NEW_VERSION, security=1)
    return Update.parse(built.header + built.file_system)


class ChipLink:
    """A `ByteLink` of the station to a chip in its dock. Waiting lets the chip's time pass."""

    name = "chip"

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._answer = bytearray()
        chip.on_send = self._answer.extend
        chip.set_dock(True)
        chip.run(_SETTLE_MS)

    def write(self, data: bytes) -> None:
        self._chip.send(data)
        self._chip.run(len(data) * _BYTE_MS)

    def read(self, timeout_s: float) -> bytes:
        if not self._answer and timeout_s:
            self._chip.run(timeout_s * 1000, until=lambda: bool(self._answer))
        data = bytes(self._answer)
        self._answer.clear()
        return data

    def drain(self) -> None:
        self._answer.clear()

    def close(self) -> None:
        self._chip.on_send = None
        self._chip.set_dock(False)


class HeldChip:
    """A chip in somebody's hands."""

    def __init__(self, chip: Chip, station: SharedStation) -> None:
        self.chip = chip
        self._station = station
        self._challenges = entropy("challenge")

    def _challenge(self) -> bytes:
        return bytes(next(self._challenges) for _ in range(8))

    def code(self) -> str:
        return read_code(self.chip.frame()) or ""

    def start(self) -> str:
        self.chip.power_on()
        self.chip.run(_START_MS)
        return ""

    def dark(self) -> str:
        self.chip.run(_DARK_MS)
        return "" if self.chip.frame().blank else "not dark"

    def press(self) -> str:
        self.chip.press(_PRESS_MS)
        self.chip.run(_CODE_MS, until=lambda: bool(self.code()))
        return self.code() or f"{FAILED}: no code came"

    def press_while_shown(self) -> str:
        before = self.code()
        self.chip.run(_BETWEEN_MS)
        self.chip.press(_PRESS_MS)
        self.chip.run(_BETWEEN_MS)
        return f"{self.code()}, {'the same' if self.code() == before else 'another'}"

    def hold(self) -> str:
        self.chip.press(_HOLD_MS)
        self.chip.run(_HOLD_MS)
        return "shown" if not self.chip.frame().blank else "nothing"

    def dock(self) -> str:
        """What an unlocked reader can ask: who the card is."""
        with self._connection() as connection:
            session = IssuerSession(connection)
            return f"{session.serial()} {session.version()}"

    def provision(self) -> str:
        """Seed, the firm's keys, and into service."""
        with self._connection() as connection:
            personalise_over(connection, host_challenge=self._challenge())
            put_into_service(connection, self._station.custody, host_challenge=self._challenge)
        self.chip.run(_UNDOCKED_MS)
        return "in service"

    def calculate(self) -> str:
        """A code over the line, with the press that it asks for."""
        with self._connection() as connection:
            serial = IssuerSession(connection).serial()
            select_oath(connection)
            code = OathSession(connection).calculate(serial, self._finger())
        self.chip.run(_UNDOCKED_MS)
        return code

    def update(self) -> str:
        """A new image, with its press, the restart, and the confirmation."""
        with self._connection() as connection:
            now = install(
                connection, self._station.custody.channel_keys, self._station.update,
                waiting=self._finger(), host_challenge=self._challenge,
            )  # fmt: skip
        self.chip.run(_UNDOCKED_MS)
        version = now.header.version if now.header is not None else "nothing"
        return f"{version} {now.state.name.lower()}"

    def cut(self) -> str:
        """A press, and the power goes in the middle of the first write to the journal."""
        journal = self.chip.board.journal
        done: list[FlashOperation] = []

        def plan(operation: FlashOperation) -> Cut | None:
            if done or not journal.address <= operation.address < journal.end:
                return None
            done.append(operation)
            half = len(operation.old) // 2
            return Cut(Phase.DURING, operation.new[:half] + operation.old[half:])

        self.chip.fault_plan = plan
        self.chip.press(_PRESS_MS)
        self.chip.run(_CODE_MS, until=lambda: not self.chip.powered)
        self.chip.fault_plan = None
        return "cut" if done and not self.chip.powered else f"{FAILED}: no write came"

    def _connection(self) -> CardConnection:
        return CardConnection(ChipLink(self.chip))

    def _finger(self) -> Waiting:
        """Presses once, when the card asks for it."""
        pressed: list[bool] = []

        def press() -> None:
            if not pressed:
                pressed.append(True)
                self.chip.run(_REACTION_MS)
                self.chip.press(_PRESS_MS)
                self.chip.run(_PRESS_MS)

        return Waiting(press)


STEPS: tuple[tuple[str, Callable[[HeldChip], str]], ...] = (
    ("start", HeldChip.start),
    ("hold", HeldChip.hold),
    ("asleep", HeldChip.dark),
    ("dock", HeldChip.dock),
    ("provisioning", HeldChip.provision),
    ("press", HeldChip.press),
    ("press while shown", HeldChip.press_while_shown),
    ("dark", HeldChip.dark),
    ("press, woken", HeldChip.press),
    ("dark again", HeldChip.dark),
    ("code over the line", HeldChip.calculate),
    ("update", HeldChip.update),
    ("press, updated", HeldChip.press),
    ("dark, updated", HeldChip.dark),
    ("power cut in a write", HeldChip.cut),
    ("start after the cut", HeldChip.start),
    ("press after the cut", HeldChip.press),
)


def act(step: Callable[[HeldChip], str], rig: HeldChip) -> str:
    """What came of it; a refusal is something that came of it."""
    try:
        return step(rig)
    except ChipError:
        raise
    except TallyError as error:
        return f"{FAILED}: {error.what}"
