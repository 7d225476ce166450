"""PNG files of few colours, without a picture library (PNG specification, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence

RGB = tuple[int, int, int]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # colour type: each pixel is an index into PLTE


def encode(width: int, height: int, rows: Iterable[bytes], colours: Sequence[RGB]) -> bytes:
    """`rows` have a byte a pixel, an index into `colours`. Same arguments, same bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    palette = b"".join(bytes(colour) for colour in colours)
    lines = b"".join(b"\0" + row for row in rows)  # filter type 0: as they are
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", palette),
            _chunk(b"IDAT", zlib.compress(lines, 9)),
            _chunk(b"IEND", b""),
        )
    )


def decode(data: bytes) -> tuple[int, int, bytes]:
    """Width, height and an index a pixel of a file that `encode` made. Raises ValueError for any
    other."""
    if data[:8] != _SIGNATURE:
        raise ValueError("no PNG")
    width, height, *rest = struct.unpack_from(">IIBBBBB", data, 16)
    at, packed = 8, b""
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += 12 + size
    try:
        lines = zlib.decompress(packed)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if rest != [8, _PALETTE, 0, 0, 0] or len(lines) != height * (width + 1):
        raise ValueError("another kind of PNG")
    rows = [lines[n * (width + 1) : (n + 1) * (width + 1)] for n in range(height)]
    if any(row[0] for row in rows):
        raise ValueError("another kind of PNG")
    return width, height, b"".join(row[1:] for row in rows)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
