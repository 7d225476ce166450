"""HOTP (RFC 4226 section 5.3) and the search for a code in a window of moving factors.

A TOTP code (RFC 6238) is the HOTP code of a time step, with SHA-1, SHA-256 or SHA-512.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

HASHES = ("sha1", "sha256", "sha512")


def hotp(seed: bytes, moving_factor: int, digits: int, algorithm: str = "sha1") -> str:
    """The code of `digits` decimal digits for one moving factor (0 .. 2^64-1)."""
    mac = hmac.digest(seed, moving_factor.to_bytes(8, "big"), algorithm)
    offset = mac[-1] & 0x0F
    value = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(value % 10**digits).zfill(digits)


def find(seed: bytes, code: str, factors: Iterable[int], algorithm: str = "sha1") -> int | None:
    """The first moving factor whose code is `code`, or None. Every factor is computed and every
    comparison takes the same time, whether or not it matches."""
    found: int | None = None
    for factor in factors:
        right = hmac.compare_digest(hotp(seed, factor, len(code), algorithm), code)
        if right and found is None:
            found = factor
    return found


def find_pair(
    seed: bytes, codes: tuple[str, str], factors: range, algorithm: str = "sha1"
) -> int | None:
    """The first moving factor whose code is `codes[0]` while the next one's is `codes[1]`."""
    first, second = codes
    found: int | None = None
    previous = False
    for factor in range(factors.start, factors.stop + 1):
        code = hotp(seed, factor, len(first), algorithm)
        if previous & hmac.compare_digest(code, second) and found is None:
            found = factor - 1
        previous = hmac.compare_digest(code, first)
    return found
