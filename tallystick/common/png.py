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


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
