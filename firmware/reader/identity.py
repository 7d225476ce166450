"""Who the reader is: the segment that the factory wrote. Read when needed, not kept: a certificate
is large.

`TSRD` 01 ‖ serial number (10) ‖ AAGUID (16) ‖ batch attestation key (32) ‖ length of the
certificate (2, little endian) ‖ certificate (DER) ‖ CRC-32 (4). With 02 in place of 01 the key is
in rows of the chip that are burnt once, and zeros stand here.
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
_EIO = const(5)


class Identity:
    """read(offset, size) → bytes. burnt() → the key in rows that are burnt, 32 bytes. `present`:
    False on a reader that no factory has made yet, or whose segment is spoiled: it has no model
    (AAGUID of zeros) and attests nothing.
    """

    def __init__(
        self, read: "Callable[[int, int], Readable]", burnt: "Callable[[], Readable]"
    ) -> None:
        self._read = read
        self._burnt = burnt
        head = read(0, _CERTIFICATE)
        self._size = head[_LENGTH] | head[_LENGTH + 1] << 8
        self.present = False
        self.aaguid = bytes(16)
        self._in_rows = head[4] == 2
        if head[:4] == b"TSRD" and head[4] in (1, 2) and 0 < self._size <= _MOST:
            end = _CERTIFICATE + self._size
            whole = read(0, end + 4)
            self.present = crc32(whole[:end]) == int.from_bytes(whole[end:], "little")
            if self.present:
                self.aaguid = bytes(head[15:31])

    def attestation_key(self) -> int:
        """The batch's private key, a number of 32 bytes. Raises OSError where none was burnt."""
        key = int.from_bytes(self._burnt() if self._in_rows else self._read(_KEY, 32), "big")
        if not key:
            raise OSError(_EIO)
        return key

    def certificate(self) -> bytes:
        """The batch's certificate, DER, at most 1024 bytes."""
        return bytes(self._read(_CERTIFICATE, self._size))
