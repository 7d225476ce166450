"""The real firmware on an emulated card, reached without a pty and in virtual time."""

from __future__ import annotations

from tallystick.common.errors import NoDeviceError
from tallystick.common.identity import Identity
from tallystick.emulator.card import Card
from tallystick.emulator.image import Image


class EmulatedLink:
    """A ByteLink to an emulated card in its dock. Waiting lets the card's time pass.

    on_block: called with each block that the station sends, before the card has it.
    """

    name = "emulated"

    def __init__(self, card: Card) -> None:
        self.card = card
        self.on_block = lambda block: None
        self._answer = bytearray()
        card.dock(self._answer.extend)

    def write(self, data: bytes) -> None:
        self.on_block(data)
        self._need_power()
        self.card.send(data)

    def read(self, timeout_s: float) -> bytes:
        self._need_power()
        if not self._answer and timeout_s:
            self.card.run_until(lambda: bool(self._answer), round(timeout_s * 1000))
        data = bytes(self._answer)
        self._answer.clear()
        return data

    def drain(self) -> None:
        self._answer.clear()

    def close(self) -> None:
        self.card.undock()

    def _need_power(self) -> None:
        if not self.card.powered:
            raise NoDeviceError("The port emulated went away while it was in use.")


def emulated_card(image: Image, serial: str = "TS00000001", *, seed: int = 1) -> Card:
    """A card fresh from the factory, with the development transport keys, powered on."""
    card = Card(image, identity=Identity.derive(serial, 20260101).encode(), seed=seed)
    card.power_on()
    return card
