"""The real firmware on an emulated card, reached without a pty and in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.common.identity import Identity
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.tools.docked import DockedLink


class EmulatedLink(DockedLink):
    """on_block: called with each block that the station sends, before the card has it."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.on_block: Callable[[bytes], None] = lambda block: None

    def write(self, data: bytes) -> None:
        self.on_block(data)
        super().write(data)


def emulated_card(image: Image, serial: str = "TS00000001", *, seed: int = 1) -> Card:
    """A card fresh from the factory, with the development transport keys, powered on."""
    card = Card(image, identity=Identity.derive(serial, 20260101).encode(), seed=seed)
    card.power_on()
    return card
