"""Cards in a firm's service, for the campaign of cuts during an update."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pyotp

from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator.devices.card import Card
from tallystick.provisioning.card.connection import CardConnection, Response
from tallystick.provisioning.card.issuer import IssuerSession
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.campaign.update.rig import UpdateRig
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import Running, install, running
from tallystick.tools.personalise import RFC4226_SEED, personalise, put_into_service

_SERIAL = "TS00000001"
_SLEEP_MS = 40_000


class CardUpdates(UpdateRig[Card]):
    """A card in service, asleep when it is looked at."""

    def __init__(self, board: str, folder: Path) -> None:
        self._custody = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
        hotp = pyotp.HOTP(base64.b32encode(RFC4226_SEED.reveal()).decode())
        self._codes = [hotp.at(factor) for factor in range(100)]
        self._next: list[str | None] = []  # codes that may be shown now
        super().__init__("card", board, folder)

    def make(self) -> Card:
        self._next = [*self._codes[:3]]
        return Card(self.image, identity=Identity.derive(_SERIAL, 20260101).encode(), seed=1)

    def put_into_service(self, device: Card) -> None:
        device.power_on()
        personalise(device)
        with CardConnection(DockedLink(device)) as connection:
            put_into_service(connection, self._custody)
        device.run_for(_SLEEP_MS)
        device.power_off()

    def start(self, device: Card) -> None:
        device.power_on()

    def stop(self, device: Card) -> None:
        device.power_off()

    def install(self, device: Card) -> int:
        connection = _Noting(device)
        install(connection, self._custody.channel_keys, self.update, waiting=_finger(device))
        connection.close()
        # The last command that made the card write was the confirmation.
        return max(at for at in connection.at if at < device.flash.operations)

    def running(self, device: Card) -> tuple[Running, str]:
        with CardConnection(DockedLink(device)) as connection:
            return running(connection), str(IssuerSession(connection).version())

    def look(self, device: Card) -> Iterator[str]:
        device.run_for(_SLEEP_MS)
        device.press()
        code = device.read_code()
        device.run_for(_SLEEP_MS)
        if code not in self._next:
            yield f"shows {code}, not the next code"
            return
        self._next = [*self._codes[self._codes.index(str(code)) + 1 :]]


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
