"""Who the reader is: the segment that the factory wrote. Read when needed, not kept: a certificate
is large.

`TSRD` 01 ‖ serial number (10) ‖ AAGUID (16) ‖ batch attestation key (32) ‖ length of the
certificate (2, little endian) ‖ certificate (DER) ‖ CRC-32 (4).
"""

from binascii import crc32

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from collections.abc import Callable

    from typed.kinds import Readable

_KEY = const(31)
_LENGTH = const(63)
_CERTIFICATE = const(65)
_MOST = const(1024)


class Identity:
    """read(offset, size) → bytes. `present`: False on a reader not yet from the factory."""

    def __init__(self, read: "Callable[[int, int], Readable]") -> None:
        self._read = read
        head = read(0, _CERTIFICATE)
        self._size = head[_LENGTH] | head[_LENGTH + 1] << 8
        self.present = False
        self.aaguid = bytes(head[15:31])
        if head[:5] == b"TSRD\x01" and 0 < self._size <= _MOST:
            end = _CERTIFICATE + self._size
            whole = read(0, end + 4)
            self.present = crc32(whole[:end]) == int.from_bytes(whole[end:], "little")

    def attestation_key(self) -> int:
        """The batch's private key, a number of 32 bytes."""
        return int.from_bytes(self._read(_KEY, 32), "big")

    def certificate(self) -> bytes:
        """The batch's certificate, DER, at most 1024 bytes."""
        return bytes(self._read(_CERTIFICATE, self._size))
