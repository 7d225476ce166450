"""UF2, the drag-and-drop format of RP2 boards (Microsoft's UF2 specification)."""

from __future__ import annotations

import struct

FAMILY_RP2040 = 0xE48BFF56
FAMILY_ABSOLUTE = 0xE48BFF57  # RP2350: written where it says (data sheet, section 5.5.3)
_PAYLOAD = 256


def encode(data: bytes, address: int, family: int) -> bytes:
    """`data` at `address` as 512-byte blocks of 256 payload bytes."""
    count = -(-len(data) // _PAYLOAD)
    out = bytearray()
    for number in range(count):
        payload = data[number * _PAYLOAD : (number + 1) * _PAYLOAD].ljust(_PAYLOAD, b"\xff")
        out += struct.pack(
            "<8I", 0x0A324655, 0x9E5D5157, 0x2000, address + number * _PAYLOAD, _PAYLOAD, number,
            count, family,
        )  # fmt: skip
        out += payload.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)
    return bytes(out)
