"""The computer at a reader, the same for both: python-fido2, whose chance is given, and a log of
what the reader answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin, PinProtocolV2
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

_DESCRIPTOR = HidDescriptor("reader", 0x1209, 0x0001, 64, 64, "Tallystick reader", None)
_LIMIT_MS = 40_000  # the longest command waits 30 s for a finger
_KEEPALIVE, _PROCESSING, _INIT = 0xBB, 1, 0x86
_NONCE = slice(7, 15)  # of an answer to INIT: what the host had sent
_SCALAR = 0x5EC0ED09  # the host's key, the same for both
_IV = bytes(16)


class ReaderSide(Protocol):
    """A reader, emulated by ours or by the other."""

    reports: deque[bytes]

    def write_report(self, report: bytes) -> None: ...

    def run_until(self, done: Callable[[], bool], limit_ms: int = ...) -> bool: ...


class TimedConnection(CtapHidConnection):
    """Waiting for a packet lets the reader's time pass. `answers` are what came, without the host's
    own nonce. Of keep-alives only that it asks for a finger, once: how many there are, and whether
    there is one at all while it computes, is a matter of time."""

    def __init__(self, device: ReaderSide) -> None:
        self._device = device
        self.answers: list[bytes] = []

    def write_packet(self, data: bytes) -> None:
        self._device.write_report(data)

    def read_packet(self) -> bytes:
        if not self._device.run_until(lambda: bool(self._device.reports), limit_ms=_LIMIT_MS):
            raise ConnectionError("nothing came")
        packet = self._device.reports.popleft()
        self._note(packet)
        return packet

    def _note(self, packet: bytes) -> None:
        if packet[4] == _INIT:
            packet = packet[: _NONCE.start] + bytes(8) + packet[_NONCE.stop :]
        if packet[4] == _KEEPALIVE and (packet[7] == _PROCESSING or self.answers[-1:] == [packet]):
            return
        self.answers.append(packet)

    def close(self) -> None:
        """The bus stays."""

    def open(self) -> Ctap2:
        """A channel; asks for getInfo."""
        return Ctap2(CtapHidDevice(_DESCRIPTOR, self))


class GivenProtocol(PinProtocolV2):
    """PIN/UV auth protocol two, with a key and initialisation vectors that are known: not for a
    reader that anybody uses."""

    def encapsulate(self, peer_cose_key: Any) -> tuple[Mapping[int, Any], bytes]:
        key = ec.derive_private_key(_SCALAR, ec.SECP256R1())
        own = key.public_key().public_numbers()
        x, y = (int.from_bytes(peer_cose_key[at], "big") for at in (-2, -3))
        peer = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        message = {
            1: 2, 3: -25, -1: 1, -2: own.x.to_bytes(32, "big"), -3: own.y.to_bytes(32, "big"),
        }  # fmt: skip
        secret: bytes = self.kdf(key.exchange(ec.ECDH(), peer))  # type: ignore[no-untyped-call]
        return message, secret

    def encrypt(self, key: bytes, plaintext: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(key[32:]), modes.CBC(_IV)).encryptor()
        return _IV + bytes(encryptor.update(plaintext) + encryptor.finalize())


def client_pin(ctap: Ctap2) -> ClientPin:
    return ClientPin(ctap, GivenProtocol())
