"""HOTP (RFC 4226 section 5.3) and the search for a code in a window of moving factors.

A TOTP code (RFC 6238) is the HOTP code of a time step, with SHA-1, SHA-256 or SHA-512.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from struct import Struct

HASHES = ("sha1", "sha256", "sha512")
_NUMBER = Struct(">I")


def hotp(seed: bytes, moving_factor: int, digits: int, algorithm: str = "sha1") -> str:
    """The code of `digits` decimal digits for one moving factor (0 .. 2^64-1)."""
    return next(_codes(seed, (moving_factor,), digits, algorithm))


def find(seed: bytes, code: str, factors: Iterable[int], algorithm: str = "sha1") -> int | None:
    """The first moving factor whose code is `code`, or None. Every factor is computed and every
    comparison takes the same time, whether or not it matches."""
    found: int | None = None
    factors = tuple(factors)
    same = hmac.compare_digest
    for factor, right in zip(factors, _codes(seed, factors, len(code), algorithm), strict=True):
        if same(right, code) and found is None:
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


def _codes(seed: bytes, factors: Iterable[int], digits: int, algorithm: str) -> Iterator[str]:
    """One after the other. A check computes all that may be right: it is where its time goes."""
    digest, number = hmac.digest, _NUMBER.unpack_from
    modulus = 10**digits
    for factor in factors:
        mac = digest(seed, factor.to_bytes(8, "big"), algorithm)
        (value,) = number(mac, mac[-1] & 0x0F)
        yield str((value & 0x7FFFFFFF) % modulus).zfill(digits)
