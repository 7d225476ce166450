"""A stock OATH client's connection class over our T=1: yubikit drives our card unmodified."""

from __future__ import annotations

from yubikit.core import TRANSPORT
from yubikit.core.smartcard import SmartCardConnection

from tallystick.provisioning.card.connection import CardConnection


class TallySmartCardConnection(SmartCardConnection):
    """One card behind yubikit's abstract smart card connection."""

    def __init__(self, connection: CardConnection) -> None:
        self._connection = connection

    @property
    def transport(self) -> TRANSPORT:
        return TRANSPORT.USB

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        response = self._connection.send(apdu)
        return response.data, response.sw

    def close(self) -> None:
        self._connection.close()
