"""What a board's journal says of the state that it has, read from outside.

A record's frame (firmware/lib/journal.py) is the same for every format: sequence number (4) ‖ its
complement (4) ‖ erases (4) ‖ payload ‖ CRC-32 (4) ‖ SHA-256, first 4 bytes. A payload begins with
its format's number.
"""

from __future__ import annotations

import hashlib
from binascii import crc32
from typing import NamedTuple

_SLOT, _HEAD, _CHECK = 256, 12, 8


class KeptState(NamedTuple):
    """Number of the format that a state says it has, and the bytes that it has."""

    format: int
    size: int


def newest_state(journal: bytes) -> KeptState | None:
    """Of the newest whole record; None where there is none: a card from the factory."""
    newest, found = -1, None
    for at in range(0, len(journal) - _SLOT + 1, _SLOT):
        slot = journal[at : at + _SLOT]
        sequence = int.from_bytes(slot[:4], "little")
        if sequence ^ int.from_bytes(slot[4:8], "little") == 0xFFFFFFFF and sequence > newest:
            payload = _payload(slot)
            if payload:
                newest, found = sequence, KeptState(payload[0], len(payload))
    return found


def _payload(slot: bytes) -> bytes:
    """Of the record in a slot, whatever its size; empty when none is whole."""
    check = crc32(slot[:_HEAD])
    for end in range(_HEAD + 1, _SLOT - _CHECK + 1):
        check = crc32(slot[end - 1 : end], check)
        digest = hashlib.sha256(slot[:end]).digest()[:4]
        if slot[end : end + _CHECK] == check.to_bytes(4, "little") + digest:
            return slot[_HEAD:end]
    return b""
