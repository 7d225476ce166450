"""Encrypts what is written to flash, under keys that are not in that flash.

The root is the chip's own (on the RP2350 a random number in its one-time programmable memory), so
that a copy of the flash chip alone tells nothing, and a changed record is noticed. AES-256-CBC,
then HMAC-SHA-256, 16 bytes of it, over the record's key, initial vector and ciphertext.
"""

from hashlib import sha256

from cryptolib import aes
from micropython import const

from lib import hmac

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import Random, Readable

_CBC = const(2)
_MAC = const(16)


def equal(a: "Readable", b: "Readable") -> bool:
    """Compares in a time that depends on the lengths only."""
    if len(a) != len(b):
        return False
    off = 0
    for i in range(len(a)):
        off |= a[i] ^ b[i]
    return off == 0


class DamagedError(Exception):
    """A sealed record is not what was written."""


class Seal:
    """Seals and opens. root: the chip's own key, 16 bytes."""

    def __init__(self, root: bytes, urandom: "Random") -> None:
        self._cipher = hmac.digest(sha256, root, b"tallystick reader: records, encryption")
        self._mac = hmac.digest(sha256, root, b"tallystick reader: records, authentication")
        self._urandom = urandom

    def tag(self, data: bytes) -> bytes:
        """8 bytes that name something (a relying party) without telling what."""
        return hmac.digest(sha256, self._mac, b"tag" + data)[:8]

    def close(self, key: int, data: bytes, open_part: bytes = b"") -> bytes:
        """open_part stays readable in front, and is authenticated."""
        iv = self._urandom(16)
        padded = data + b"\x80" + b"\0" * (15 - len(data) % 16)
        body = open_part + iv + aes(self._cipher, _CBC, iv).encrypt(padded)
        return body + self._check(key, body)

    def _check(self, key: int, body: bytes) -> bytes:
        return hmac.digest(sha256, self._mac, b"record" + key.to_bytes(2, "big") + body)[:_MAC]

    def open(self, key: int, sealed: bytes, open_size: int = 0) -> bytes:
        """What was closed. Raises DamagedError."""
        end = len(sealed) - _MAC
        start = open_size + 16
        if (
            end < start + 16
            or (end - start) % 16
            or not equal(sealed[end:], self._check(key, sealed[:end]))
        ):
            raise DamagedError
        data = aes(self._cipher, _CBC, sealed[open_size:start]).decrypt(sealed[start:end])
        return data[: data.rfind(b"\x80")]
