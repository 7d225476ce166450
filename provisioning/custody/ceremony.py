"""Key ceremony for a key file: a backup that only two people together can open, and the protocol of
what was done.

The backup is encrypted under a random key that is the exclusive or of two shares. Each share alone
is random and tells nothing. Shares are written down, so each carries a checksum of its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.common import chance
from tallystick.common.errors import BadInputError
from tallystick.common.formats import number_of
from tallystick.provisioning.custody.interface import KeyDescription
from tallystick.provisioning.custody.keyfile import KeyRing, ring_from_plain, ring_to_json

FORMAT = b"tallystick station backup 1\n"
_FIRST_LINE = 64  # bytes, at most
SHARE_SIZE = 32
_CHECK_SIZE = 3
_GROUP = 7


@dataclass(frozen=True)
class Backup:
    """content: what goes into the file; shares: one for each of the two people."""

    content: bytes
    shares: tuple[str, str] = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def back_up(ring: KeyRing) -> Backup:
    """Encrypt the whole ring under a new key, split in two."""
    first, second = chance.token_bytes(SHARE_SIZE), chance.token_bytes(SHARE_SIZE)
    nonce = chance.token_bytes(12)
    plain = json.dumps(ring_to_json(ring)).encode()
    content = FORMAT + nonce + AESGCM(_join(first, second)).encrypt(nonce, plain, FORMAT)
    return Backup(content, (write_share(1, first), write_share(2, second)))


def restore(content: bytes, shares: tuple[str, str]) -> KeyRing:
    """The ring in a backup. Raises BadInputError for a mistyped share, two of the same, and shares
    or a file that do not belong together; NewerStateError for a later format."""
    (number, first), (other, second) = (read_share(share) for share in shares)
    if number == other:
        raise BadInputError(
            f"Share {number} was given twice.", todo="Both people have to give their own."
        )
    first_line = content[:_FIRST_LINE].partition(b"\n")[0].decode("ascii", "replace")
    if number_of(first_line, FORMAT.decode().strip(), "The backup") is None:
        raise BadInputError("The file is no backup of a station's keys.")
    nonce, sealed = content[len(FORMAT) : len(FORMAT) + 12], content[len(FORMAT) + 12 :]
    try:
        plain = bytearray(AESGCM(_join(first, second)).decrypt(nonce, sealed, FORMAT))
    except (InvalidTag, ValueError):
        raise BadInputError(
            "The two shares do not open this backup, or it was changed.",
            todo="Check that shares and file are from the same ceremony.",
        ) from None
    return ring_from_plain(plain)


def write_share(number: int, value: bytes) -> str:
    """As it is written down: number, base32 in groups, checksum within."""
    text = base64.b32encode(value + _check(number, value)).decode().rstrip("=")
    groups = (text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
    return f"{number}: " + " ".join(groups)


def read_share(text: str) -> tuple[int, bytes]:
    """(number, value). Raises BadInputError when a character is wrong or missing."""
    head, _, body = text.partition(":")
    letters = "".join(body.split()).upper()
    try:
        number = int(head.strip())
        data = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except (ValueError, binascii.Error):
        raise _mistyped() from None
    value, check = data[:SHARE_SIZE], data[SHARE_SIZE:]
    if number not in (1, 2) or len(value) != SHARE_SIZE or check != _check(number, value):
        raise _mistyped()
    if write_share(number, value).partition(":")[2].replace(" ", "") != letters:
        raise _mistyped()  # unused bits of the last letter
    return number, value


def protocol(
    act: str, when: str, people: tuple[str, ...], keys: list[KeyDescription], notes: list[str]
) -> str:
    """The record to print and sign: check values only."""
    lines = [f"Key ceremony: {act}", f"Time: {when}", ""]
    lines += [
        f"{key.name:<10} version {key.version:02X}  check value {key.check_value.upper()}"
        for key in keys
    ]
    lines += ["", *notes, ""]
    lines += [f"{person:<30} ______________________________" for person in people]
    return "\n".join([*lines, ""])


def _check(number: int, value: bytes) -> bytes:
    return hashlib.sha256(bytes((number,)) + value).digest()[:_CHECK_SIZE]


def _join(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def _mistyped() -> BadInputError:
    return BadInputError(
        "The share is mistyped.", todo="Type it again as it was written down, number first."
    )
