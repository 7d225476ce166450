"""What the port has worked out for it: `port/host_p256.py`. Numbers are 32 bytes, big endian."""

from __future__ import annotations

from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePublicNumbers,
    derive_private_key,
)

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186, 3.2.1.3
_KEY, _SIGN = 0, 1


@lru_cache(maxsize=4096)  # a campaign goes back to the same keys again and again
def answer(kind: int, data: bytes) -> bytes:
    """0: X ‖ Y of a private key. 1: r ‖ s for nonce ‖ private key ‖ digest (FIPS 186-5, 6.4.1).
    2: X of private key · X ‖ Y; nothing when that is no point."""
    first = _number(data[:32])
    if kind == _KEY:
        x, y = _point(first)
        return x.to_bytes(32, "big") + y.to_bytes(32, "big")
    if kind == _SIGN:
        r = _point(first)[0] % _ORDER
        s = (_number(data[64:]) + r * _number(data[32:64])) * pow(first, -1, _ORDER) % _ORDER
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    try:
        peer = EllipticCurvePublicNumbers(_number(data[32:64]), _number(data[64:]), SECP256R1())
        return derive_private_key(first, SECP256R1()).exchange(ECDH(), peer.public_key())
    except ValueError:
        return b""


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _point(scalar: int) -> tuple[int, int]:
    """Of the base point."""
    numbers = derive_private_key(scalar, SECP256R1()).public_key().public_numbers()
    return numbers.x, numbers.y
