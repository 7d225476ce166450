"""The per-card segment: what the factory writes into a card's flash beside the firmware.

Layout (little endian, one record at the start of the board's identity region):
magic `TSID` (4) ‖ format 1 (1) ‖ serial number, 10 ASCII characters ‖ transport keys ENC, MAC, DEK
(48) ‖ date YYYYMMDD (4) ‖ QR code of the serial number, 21 × 21 modules, 3 bytes a row, most
significant bit first (63) ‖ CRC-32 of all before (4). `firmware/card/identity.py` reads it.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from functools import lru_cache

import segno
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret

MAGIC = b"TSID\x01"
SIZE = 134
_SERIAL = re.compile(r"[0-9A-Z]{10}")

# Published on purpose: every card made without a factory master of one's own has it. A station only
# takes it with an explicit option.
DEVELOPMENT_MASTER = bytes.fromhex("404142434445464748494a4b4c4d4e4f")


def kdf3(master: bytes | memoryview, kdd: bytes, size: int = 16) -> tuple[bytes, bytes, bytes]:
    """Static keys ENC, MAC and DEK of `size` bytes for the 10-byte key diversification data `kdd`.

    GlobalPlatform KDF3 (counter mode, AES-CMAC): block j of key n is
    CMAC(master, j ‖ 00 00 00 n 00 ‖ KDD), docs/reference/protocols.md 3.3.
    """
    keys = []
    for n in (1, 2, 3):
        blocks = b""
        for j in range(1, -(-size // 16) + 1):
            mac = CMAC(AES(master))
            mac.update(bytes((j, 0, 0, 0, n, 0)) + kdd)
            blocks += mac.finalize()
        keys.append(blocks[:size])
    return keys[0], keys[1], keys[2]


def check_serial(serial: str) -> str:
    """The serial number itself. Raises BadInputError when it is not ten of 0-9, A-Z."""
    if not _SERIAL.fullmatch(serial):
        raise BadInputError(
            f"{serial!r} is not a serial number.",
            todo="Use ten characters out of 0-9 and A-Z, for example TS00000001.",
        )
    return serial


@dataclass(frozen=True)
class Identity:
    """`date` is YYYYMMDD as a number. The transport keys do not show in a repr."""

    serial: str
    date: int
    transport: Secret = field(repr=False)

    @classmethod
    def derive(cls, serial: str, date: int, master: bytes = DEVELOPMENT_MASTER) -> Identity:
        """Transport keys diversified from the factory master over the serial number."""
        keys = kdf3(master, check_serial(serial).encode())
        return cls(serial, date, Secret(b"".join(keys)))

    def encode(self) -> bytes:
        """The segment, `SIZE` bytes."""
        body = MAGIC + check_serial(self.serial).encode() + self.transport.reveal()
        body += self.date.to_bytes(4, "little") + qr_rows(self.serial)
        return body + binascii.crc32(body).to_bytes(4, "little")


@lru_cache(maxsize=256)  # campaigns make the same cards again and again
def qr_rows(serial: str) -> bytes:
    """QR code (version 1, error correction M, no quiet zone) as 21 rows of 3 bytes."""
    code = segno.make(serial, version=1, error="m", mode="alphanumeric", boost_error=False)
    rows = b""
    for row in code.matrix:
        bits = "".join("1" if module else "0" for module in row).ljust(24, "0")
        rows += int(bits, 2).to_bytes(3, "big")
    return rows
