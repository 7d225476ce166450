"""A card in service whose power goes during an update in the field, and what is asked of it then.

The update is run once, and its flash operations are kept. A cut at one of them is a state of the
flash: what was done before it, and what the fault leaves of it. That state is put into a card,
which is started three times, pressed, asked, and updated again.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyotp

from tallystick import faults
from tallystick.common.errors import TallyError
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.provisioning.card.connection import CardConnection, Response
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import SlotState, Update, install, running
from tallystick.tools.image.build import build, write
from tallystick.tools.personalise import RFC4226_SEED, personalise

OLDER, OLD, NEW = "0.0.9", "0.1.0", "0.2.0"  # in the other slot, running, to be installed
_SERIAL = "TS00000001"
_STARTS = 3  # after a cut: weak bits may read differently each time
_SLEEP_MS = 40_000


@dataclass
class FoundCard:
    """recovery: flash operations of the starts after the cut."""

    problems: list[str] = field(default_factory=list)
    recovery: int = 0
    new_image: bool = False
    updated_again: bool = False


class UpdateRig:
    """`operations`: the flash operations of the update, in order."""

    def __init__(self, board: str, folder: Path) -> None:
        older = write(build("card", board, OLDER), folder / "older")
        old = write(build("card", board, OLD), folder / "old")
        new = write(build("card", board, NEW, security=1), folder / "new")
        self.board = board
        self._image = Image.load(old["bin"])
        self._update = Update.parse(new["update"].read_bytes())
        self._custody = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
        hotp = pyotp.HOTP(base64.b32encode(RFC4226_SEED.reveal()).decode())
        self._codes = [hotp.at(factor) for factor in range(100)]
        self.operations: list[FlashOperation] = []
        with self._card() as card:
            self._put_into_service(card)
            self._fill_slot(card, Update.parse(older["update"].read_bytes()))
            self._begin = bytes(card.flash.memory)
            self._done, self._flash = 0, bytearray(self._begin)  # flash after so many operations
            card.flash.fault_plan = self.operations.append
            card.power_on()
            sent = self._install(card)
            # The last command that made the card write was the confirmation.
            self._confirmed_at = max(at for at in sent if at < len(self.operations))

    def is_content(self, number: int) -> bool:
        """Whether an operation writes the file system of the slot that does not run."""
        slot = self._image.board.slots[1]
        first = slot.address + self._image.board.flash_timing.sector
        return first <= self.operations[number].address < slot.end

    def _card(self) -> Card:
        return Card(self._image, identity=Identity.derive(_SERIAL, 20260101).encode(), seed=1)

    def _put_into_service(self, card: Card) -> None:
        card.power_on()
        personalise(card)
        custody = self._custody
        with CardConnection(DockedLink(card)) as connection:
            channel = SecureChannel.open(connection, custody.channel_keys)
            info = channel.update
            keys = custody.firm_keys(info.key_version, info.diversification_data)
            IssuerSession(channel).put_key(custody.firm_version, keys)
            channel = SecureChannel.open(connection, custody.channel_keys)
            IssuerSession(channel).set_status(LifeCycle.SECURED)
        card.run_for(_SLEEP_MS)
        card.power_off()

    def _fill_slot(self, card: Card, image: Update) -> None:
        """The slot that does not run has an image, as after an earlier update."""
        address, sector = card.board.slots[1].address, card.board.flash_timing.sector
        card.flash.load(address, image.signed.ljust(sector, b"\xff") + image.file_system)

    def _install(self, card: Card) -> list[int]:
        """The whole update, with the press that it asks for. Returns how many flash operations
        there had been when each command was sent."""
        connection = _Noting(card)
        before = card.flash.operations
        keys = self._custody.channel_keys
        install(connection, keys, self._update, waiting=_finger(card))
        connection.close()
        return [at - before for at in connection.at]

    def explore(
        self, operation: int, fault: str, rng: random.Random, *, second: int = -1, whole: bool
    ) -> FoundCard:
        """What does not hold after a cut at `operation`. second: another cut, at that operation of
        the starts that follow. whole: the update is sent again, to its end."""
        found = FoundCard()
        with self._card() as card:
            self._load(card, operation, fault)
            card.mcu.reseed(random.Random(rng.randbytes(8)))
            before = card.flash.operations
            card.flash.fault_plan = None if second < 0 else _SecondCut(before + second, rng)
            for _ in range(_STARTS):
                card.power_off()
                try:
                    card.power_on()
                except TallyError as error:
                    found.problems.append(f"does not start: {error.what[-200:]}")
                    return found
            found.recovery = card.flash.operations - before
            card.flash.fault_plan = None
            if not card.powered:
                card.power_on()
            try:
                found.problems += self._problems(card, operation, whole, found)
            except TallyError as error:
                found.problems.append(f"fails: {error.what[-300:]}")
        return found

    def _load(self, card: Card, operation: int, fault: str) -> None:
        """The flash as a cut at `operation` leaves it."""
        if operation < self._done:
            self._done, self._flash = 0, bytearray(self._begin)
        for done in self.operations[self._done : operation]:
            self._flash[done.address : done.address + len(done.new)] = done.new
        self._done = operation
        card.flash.load(0, bytes(self._flash))
        cut = self.operations[operation]
        left = faults.apply(fault, cut)
        card.flash.load(cut.address, left.content)
        card.flash.weak = {cut.address * 8 + bit for bit in left.weak}

    def _problems(self, card: Card, operation: int, whole: bool, found: FoundCard) -> Iterator[str]:
        first = self._press(card)
        if first not in self._codes[:3]:
            yield f"shows {first}, not the next code"
        with CardConnection(DockedLink(card)) as connection:
            now = running(connection)
            version = str(IssuerSession(connection).version())
        found.new_image = version == NEW
        if now.header is None or now.header.version != version:
            yield f"runs {version} and reports another image"
        if version == NEW and operation < self._confirmed_at:
            yield "runs the new image, which nobody confirmed"
        if now.state is not SlotState.CONFIRMED:
            yield f"is still on trial after {_STARTS} starts and a press"
        if now.floor != int(version == NEW):
            yield f"has floor {now.floor} under {version}"
        if whole:
            yield from self._update_again(card)
            found.updated_again = True
        card.run_for(_SLEEP_MS)
        second = self._press(card)
        if second not in self._codes or self._codes.index(second) <= self._codes.index(first or ""):
            yield f"shows {second} after {first}"

    def _update_again(self, card: Card) -> Iterator[str]:
        self._install(card)
        with CardConnection(DockedLink(card)) as connection:
            again = running(connection)
        if again.header != self._update.header or again.state is not SlotState.CONFIRMED:
            yield "did not take the update again"

    def _press(self, card: Card) -> str | None:
        card.press()
        code = card.read_code()
        card.run_for(_SLEEP_MS)
        return code


def _finger(card: Card) -> Waiting:
    """Presses once, when the card asks for it."""
    pressed: list[bool] = []

    def press() -> None:
        if not pressed:
            pressed.append(True)
            card.button.push()
            card.run_for(120)
            card.button.release()

    return Waiting(press)


class _Noting(CardConnection):
    """Notes how many flash operations the card had done when each command was sent."""

    def __init__(self, card: Card) -> None:
        self.at: list[int] = []
        self._card = card
        super().__init__(DockedLink(card))

    def send(self, apdu: bytes, waiting: Waiting | None = None) -> Response:
        self.at.append(self._card.flash.operations)
        return super().send(apdu, waiting)


class _SecondCut:
    """Cuts at one operation, in a way that the seed chooses."""

    def __init__(self, at: int, rng: random.Random) -> None:
        self._at = at
        self._rng = rng

    def __call__(self, operation: FlashOperation) -> Cut | None:
        if operation.index != self._at:
            return None
        kinds = [kind for kind in faults.variants(operation, self._rng) if kind[0] not in "vf"]
        fault = self._rng.choice(kinds)
        if faults.phase(fault) != "during":
            return Cut(Phase(faults.phase(fault)))
        left = faults.apply(fault, operation)
        return Cut(Phase.DURING, left.content, left.weak)
