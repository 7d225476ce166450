"""An emulated card in its dock, as the station's byte link: no pseudo-terminal, virtual time."""

from __future__ import annotations

from tallystick.common.errors import NoDeviceError
from tallystick.emulator.devices.card import Card


class DockedLink:
    """A `ByteLink` of the station to `card`. Waiting for an answer lets the card's time pass."""

    name = "emulated"

    def __init__(self, card: Card) -> None:
        self.card = card
        self._answer = bytearray()
        card.dock(self._answer.extend)

    def write(self, data: bytes) -> None:
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
        if self.card.powered:
            self.card.undock()

    def _need_power(self) -> None:
        if not self.card.powered:
            raise NoDeviceError("The card lost power while it was in use.")
