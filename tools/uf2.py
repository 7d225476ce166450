"""UF2, the drag-and-drop format of boot ROMs (Microsoft's UF2 specification)."""

from __future__ import annotations

import struct

MAGIC = b"UF2\n"
_HEAD = "<8I"
_START, _SECOND, _END = 0x0A324655, 0x9E5D5157, 0x0AB16F30
_NOT_MAIN_FLASH = 0x1
_HAS_FAMILY = 0x2000
_BLOCK = 512
_PAYLOAD = 256


def encode(data: bytes, address: int, family: int) -> bytes:
    """`data` at `address` as 512-byte blocks of 256 payload bytes."""
    return encode_parts([(address, data)], family)


def encode_parts(parts: list[tuple[int, bytes]], family: int) -> bytes:
    """Several (address, data) in one file."""
    blocks = [
        (address + at, data[at : at + _PAYLOAD].ljust(_PAYLOAD, b"\xff"))
        for address, data in parts
        for at in range(0, len(data), _PAYLOAD)
    ]
    out = bytearray()
    for number, (address, payload) in enumerate(blocks):
        out += struct.pack(
            _HEAD, _START, _SECOND, _HAS_FAMILY, address, _PAYLOAD, number, len(blocks), family
        )
        out += payload.ljust(476, b"\0") + struct.pack("<I", _END)
    return bytes(out)


def decode(data: bytes) -> list[tuple[int, bytes]]:
    """(address, content) of every run of blocks, by address. Raises ValueError."""
    blocks: dict[int, bytes] = {}
    if not data or len(data) % _BLOCK:
        raise ValueError("it is not made of whole blocks of 512 bytes")
    for at in range(0, len(data), _BLOCK):
        block = data[at : at + _BLOCK]
        start, second, flags, address, size, *_ = struct.unpack_from(_HEAD, block)
        if (start, second, block[508:]) != (_START, _SECOND, struct.pack("<I", _END)):
            raise ValueError(f"block {at // _BLOCK} is no UF2 block")
        if size > 476:
            raise ValueError(f"block {at // _BLOCK} claims {size} bytes")
        if not flags & _NOT_MAIN_FLASH:
            blocks[address] = block[32 : 32 + size]
    runs: list[tuple[int, bytes]] = []
    for address, payload in sorted(blocks.items()):
        if runs and runs[-1][0] + len(runs[-1][1]) == address:
            runs[-1] = (runs[-1][0], runs[-1][1] + payload)
        else:
            runs.append((address, payload))
    return runs
