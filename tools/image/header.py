"""The header at the start of a slot: what the image is, and the signature that a card checks.

64 bytes, little endian, then 64 bytes of signature over them:
`TSIM` (4) ‖ format 1 (1) ‖ device (1: card, 2: reader) ‖ version major, minor, patch (3) ‖ formats
of the state that it reads, oldest and newest (4 bits each; 0: 1 and 1) ‖ security version (2) ‖
size of the file system (4) ‖ its SHA-256 (32) ‖ board's name, zeros (16).
`firmware/card/update.py` reads it; docs/reference/updates.md has the reasons.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from tallystick.common.errors import BadInputError

MAGIC = b"TSIM"
SIZE = 64
SIGNATURE_SIZE = 64
DEVICES = {"card": 1, "reader": 2}
MAX_SECURITY = 0xFFFF
_FORMAT = 1
_MOST_FORMATS = 15
_LAYOUT = "<4sBB3sBHI32s16s"
_VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})")


class StateFormats(NamedTuple):
    """Formats of a device's state that an image reads: from the oldest to the newest, which it
    writes once nothing leads back to the image before."""

    oldest: int = 1
    newest: int = 1

    def read(self, number: int) -> bool:
        return self.oldest <= number <= self.newest

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


FIRST_FORMAT = StateFormats()


@dataclass(frozen=True)
class Header:
    """`security` is the anti-rollback version: no device goes back below the highest it confirmed.
    `size` in bytes, `digest` is SHA-256, both of the file system."""

    device: str
    board: str
    version: str
    security: int
    size: int
    digest: bytes
    formats: StateFormats = FIRST_FORMAT

    @classmethod
    def of(
        cls,
        file_system: bytes,
        *,
        device: str,
        board: str,
        version: str,
        security: int,
        formats: StateFormats = FIRST_FORMAT,
    ) -> Header:
        digest = hashlib.sha256(file_system).digest()
        return cls(device, board, version, security, len(file_system), digest, formats)

    def encode(self) -> bytes:
        """`SIZE` bytes. Raises BadInputError for a version that is not three small numbers."""
        if not 0 <= self.security <= MAX_SECURITY:
            raise BadInputError(f"A security version is a number up to {MAX_SECURITY}.")
        oldest, newest = self.formats
        if not 0 < oldest <= newest <= _MOST_FORMATS:
            raise BadInputError(f"Formats of a state are numbers up to {_MOST_FORMATS}.")
        return struct.pack(
            _LAYOUT,
            MAGIC,
            _FORMAT,
            DEVICES[self.device],
            bytes(parse_version(self.version)),
            oldest << 4 | newest,
            self.security,
            self.size,
            self.digest,
            self.board.encode("ascii"),
        )

    @classmethod
    def decode(cls, data: bytes) -> Header | None:
        """None for bytes that are no header, such as blank flash."""
        if len(data) < SIZE or data[:5] != MAGIC + bytes((_FORMAT,)):
            return None
        _, _, device, version, reads, security, size, digest, board = struct.unpack(
            _LAYOUT, data[:SIZE]
        )
        names = {number: name for name, number in DEVICES.items()}
        if device not in names:
            return None
        text = ".".join(str(part) for part in version)
        name = board.rstrip(b"\0").decode("ascii", "replace")
        formats = StateFormats(reads >> 4, reads & 15) if reads else FIRST_FORMAT
        return cls(names[device], name, text, security, size, digest, formats)


def parse_version(version: str) -> tuple[int, int, int]:
    """Raises BadInputError when it is not MAJOR.MINOR.PATCH, each up to 255."""
    match = _VERSION.fullmatch(version)
    numbers = tuple(int(part) for part in match.groups()) if match else ()
    if len(numbers) != 3 or max(numbers) > 255:
        raise BadInputError(
            f"{version!r} is not a firmware version.",
            todo="Use three numbers up to 255, for example 1.4.2.",
        )
    return numbers[0], numbers[1], numbers[2]
