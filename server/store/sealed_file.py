"""A private file for what is too large for memory: gone with its process, and never in clear.

It has no name, so that a killed process leaves nothing behind, and every piece is encrypted under
a key that only this process's memory holds: token files have seeds in them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tallystick.common import chance
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.wording.worded import worded

PIECE = 256 * 1024
TAG = 16


class SealedFile:
    """Bytes that are written once, from first to last, and then read any number of times."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._cipher = AESGCM(chance.token_bytes(32))
        self._waiting = bytearray()
        self._pieces = 0
        self._ended = False
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    @classmethod
    def of(cls, content: bytes) -> SealedFile:
        file = cls()
        file.write(content)
        return file

    def write(self, content: bytes) -> None:
        """Raises ApiError (503) where the disk for such files has no room."""
        self.size += len(content)
        self._waiting += content
        while len(self._waiting) >= PIECE:
            self._seal(bytes(self._waiting[:PIECE]))
            del self._waiting[:PIECE]

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of at most PIECE bytes. Nothing can be written from now on."""
        if not self._ended:
            self._ended = True
            if self._waiting:
                self._seal(bytes(self._waiting))
                self._waiting.clear()
        for number in range(self._pieces):
            self._file.seek(number * (PIECE + TAG))
            yield self._cipher.decrypt(_nonce(number), self._file.read(PIECE + TAG), None)

    def head(self, size: int) -> bytes:
        """Its first bytes, as many as asked for or as there are; at most PIECE."""
        return next(self.pieces(), b"")[:size]

    def close(self) -> None:
        self._file.close()

    def __del__(self) -> None:
        self.close()

    def _seal(self, piece: bytes) -> None:
        try:
            self._file.seek(self._pieces * (PIECE + TAG))
            sealed = self._cipher.encrypt(_nonce(self._pieces), piece, None)
            if self._file.write(sealed) != len(sealed):
                raise no_room()
        except OSError:
            raise no_room() from None
        self._pieces += 1


def no_room() -> ApiError:
    return ApiError(
        503,
        "no-room",
        "The server has no room for this file while it is read.",
        kept=NOTHING_CHANGED,
        todo=worded(
            "Make room in {folder} on the server, or set TMPDIR to a larger disk.",
            folder=tempfile.gettempdir(),
        ),
        retry_after_s=60,
    )


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
