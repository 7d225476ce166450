"""Messages as they are, for what python-fido2 would never send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fido2 import cbor
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.hid import CTAPHID, CtapHidDevice

from tests.emulator.reader.rig import Rig

MAKE, ASSERT, INFO, PIN, RESET, NEXT = 0x01, 0x02, 0x04, 0x06, 0x07, 0x08
BIO, CREDENTIALS, SELECTION, BLOBS, CONFIG = 0x09, 0x0A, 0x0B, 0x0C, 0x0D
HASH = b"\x05" * 32
PARTY = {"id": "example.com"}
USER = {"id": b"user"}
ES256 = [{"type": "public-key", "alg": -7}]


class Host:
    """One channel."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.device: CtapHidDevice = rig.device()

    def ask(
        self, command: int, request: Any = None, *, press: str | None = None
    ) -> tuple[int, Any]:
        """(status, answer). request: a value, or its encoding. press: a finger, whenever one is
        asked for.
        """
        pressed: Callable[[int], None] | None = self._rig.pressing(press) if press else None
        body = request or b""
        if request is not None and not isinstance(request, bytes):
            body = cbor.encode(request)
        answer = self.device.call(CTAPHID.CBOR, bytes((command,)) + body, on_keepalive=pressed)
        return answer[0], cbor.decode(answer[1:]) if len(answer) > 1 else None

    def status(self, command: int, request: Any = None, *, press: str | None = None) -> int:
        return self.ask(command, request, press=press)[0]


def permitted(
    rig: Rig, permissions: int, party: str | None = None, *, finger: bool = False
) -> tuple[ClientPin, bytes]:
    """A token: with the PIN, or with the finger."""
    client = ClientPin(rig.ctap())
    allowed = ClientPin.PERMISSION(permissions)
    if finger:
        return client, client.get_uv_token(allowed, party, on_keepalive=rig.pressing())
    return client, client.get_pin_token("2468", allowed, party)


def refused(call: Callable[[], object]) -> int:
    """The status with which it was refused; 0 when it was not."""
    try:
        call()
    except CtapError as error:
        return int(error.code)
    return 0
