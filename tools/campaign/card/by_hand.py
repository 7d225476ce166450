"""Content of a card's journal made without its firmware: moving factors that no number of presses
in a scenario comes to, and slots as many cuts in a row leave them.

The format is that of docs/reference: 12 bytes, 200 of state, CRC-32, 4 bytes of SHA-256.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import crc32

SLOT = 256
_HEAD, _PAYLOAD = 12, 200
_END = _HEAD + _PAYLOAD
_FACTOR, _PRESSES = _HEAD + 4, _HEAD + 12
_BITS = (33, 70, 141)  # bytes of a record in which one bit has flipped


def with_counts(content: bytes, factor: int, presses: int) -> bytes:
    """The newest record with this moving factor, and so many presses."""
    at = _newest(content)
    record = bytearray(content[at : at + SLOT])
    struct.pack_into("<Q", record, _FACTOR, factor)
    struct.pack_into("<I", record, _PRESSES, presses)
    return _put(content, at, _checked(record))


def with_spoiled(content: bytes, count: int, sector: int) -> bytes:
    """Behind the newest record so many more that read as whole once, and do not now; a sector whose
    turn comes was erased."""
    at = _newest(content)
    record = bytearray(content[at : at + SLOT])
    sequence = int.from_bytes(record[:4], "little") + 1
    struct.pack_into("<II", record, 0, sequence, sequence ^ 0xFFFFFFFF)
    spoiled = bytearray(_checked(record))
    for byte in _BITS:
        spoiled[byte] ^= 1
    for _ in range(count):
        at = (at + SLOT) % len(content)
        if at % sector == 0:
            content = _put(content, at, b"\xff" * sector)
        content = _put(content, at, bytes(spoiled))
    return content


def _newest(content: bytes) -> int:
    """Address of the newest record. Raises ValueError when there is none."""
    found = [
        (int.from_bytes(content[at : at + 4], "little"), at)
        for at in range(0, len(content), SLOT)
        if _is_whole(content[at : at + SLOT])
    ]
    return max(found)[1]


def _is_whole(record: bytes) -> bool:
    return record[: _END + 8] == _checked(bytearray(record))[: _END + 8]


def _checked(record: bytearray) -> bytes:
    body = bytes(record[:_END])
    check = crc32(body).to_bytes(4, "little") + hashlib.sha256(body).digest()[:4]
    return body + check + bytes(record[_END + 8 :])


def _put(content: bytes, at: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at + len(piece) :]
