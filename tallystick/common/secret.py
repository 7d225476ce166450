"""A secret that does not print itself, compares in constant time and can be zeroed."""

from __future__ import annotations

import hmac

from tallystick.common import chance
from tallystick.common.process import keep_in_memory


class Secret:
    """Holds secret bytes in a mutable buffer. `reveal()` and `view()` are the ways to read them.

    repr, str, format, pickle and tracebacks show nothing of the content. `wipe()` zeroes the
    buffer; copies that Python made meanwhile (a bytes passed to a cipher) are out of its reach.
    """

    __slots__ = ("_buffer",)

    def __init__(self, value: bytes | bytearray) -> None:
        self._buffer = bytearray(value)

    @classmethod
    def random(cls, size: int) -> Secret:
        """`size` bytes from the operating system's CSPRNG."""
        return cls(chance.token_bytes(size))

    def reveal(self) -> bytes:
        return bytes(self._buffer)

    def view(self) -> memoryview:
        """The buffer itself, to be read only, where a copy is not needed: ciphers take it."""
        return memoryview(self._buffer).toreadonly()

    def keep_in_memory(self) -> bool:
        """As `process.keep_in_memory`: for a secret that is held for long."""
        return keep_in_memory(self._buffer)

    def wipe(self) -> None:
        for i in range(len(self._buffer)):
            self._buffer[i] = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._buffer, other._buffer)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Secret({len(self._buffer)} bytes)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled: it would leave an unencrypted copy")

    def __enter__(self) -> Secret:
        return self

    def __exit__(self, *exc: object) -> None:
        self.wipe()
