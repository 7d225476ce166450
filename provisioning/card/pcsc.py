"""A smart card in a PC/SC reader, for devices that are not on a serial line. Needs pyscard."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tallystick.common.closing import Closing
from tallystick.common.errors import BadInputError, NoDeviceError
from tallystick.provisioning.card.connection import (
    INS_SEND_REMAINING,
    CommandApdu,
    Response,
    whole,
)
from tallystick.provisioning.card.t1 import Waiting

SCHEME = "pcsc:"


class PcscConnection(Closing):
    """One card in one reader. Implements Transmitter; `waiting` is of no use here: the reader
    waits for the card by itself."""

    def __init__(self, reader: str) -> None:
        """reader: (part of) its name. Raises NoDeviceError, BadInputError without pyscard."""
        self.name = reader
        smartcard = _library()
        matching = [one for one in _readers(smartcard) if reader in str(one)]
        if len(matching) != 1:
            found = "no reader" if not matching else f"{len(matching)} readers"
            raise NoDeviceError(
                f"{found} of that name: {reader!r}.",
                todo="`tally station ports` lists the readers there are.",
            )
        self._error: Any = smartcard.Exceptions.SmartcardException
        self._card = matching[0].createConnection()
        try:
            self._card.connect()
        except self._error:
            self._card.release()
            raise NoDeviceError(
                f"There is no card in the reader {reader!r}.", todo="Put one in, and repeat it."
            ) from None

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        return whole(self._send(command.encode()), self._send, INS_SEND_REMAINING)

    def _send(self, apdu: bytes) -> Response:
        try:
            data, sw1, sw2 = self._card.transmit(list(apdu))
        except self._error:
            raise NoDeviceError(f"The card in the reader {self.name!r} went away.") from None
        return Response(bytes(data), sw1 << 8 | sw2)

    def close(self) -> None:
        self._card.disconnect()
        self._card.release()


def readers() -> list[str]:
    """The PC/SC readers of this computer; none without pyscard or without its service."""
    try:
        return [str(reader) for reader in _readers(_library())]
    except (BadInputError, NoDeviceError):
        return []


def _readers(smartcard: ModuleType) -> list[Any]:
    try:
        return list(smartcard.System.readers())
    except Exception as error:  # the library's errors about its service have no base of their own
        raise NoDeviceError(
            f"No PC/SC service answers: {error}.", todo="Start pcscd, or plug the reader in."
        ) from None


def _library() -> ModuleType:
    try:
        import smartcard.Exceptions  # noqa: PLC0415 (optional)
        import smartcard.System  # noqa: PLC0415
    except ImportError:
        raise BadInputError(
            "PC/SC readers need the package pyscard.",
            todo="Install it with `pip install 'tallystick[pcsc]'`.",
        ) from None
    library: ModuleType = smartcard
    return library
