"""Verification of Ed25519 signatures (RFC 8032, section 5.1.7).

Only public values pass through here, so nothing need be constant in time. The check is the strict
one: S below the group order, and R compared as bytes, without a cofactor.
"""

from micropython import const

from lib.sha512 import sha512

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import TypeAlias

    Point: TypeAlias = tuple[int, int, int, int]

P = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED
L = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED
_D2 = 0x2406D9DC56DFFCE7198E80F2EEF3D13000E0149A8283B156EBD69B9426B2F159  # 2 × d
BX = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
BY = 0x6666666666666666666666666666666666666666666666666666666666666658
_SIGN = const(0x80)

# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, section 5.1.4).


def verify(public_key: bytes, x: int, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) over `message` was made with the key of `public_key` (32).

    x: the other coordinate of the key's point. The build computes it, together with the check that
    the key is a good one, so that no device has to take a square root.
    """
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= L:
        return False
    r = bytes(signature[:32])
    k = int.from_bytes(sha512(r + public_key + message), "little") % L
    y = int.from_bytes(public_key, "little") & ((1 << 255) - 1)
    minus_a = (P - x, y, 1, (P - x) * y % P)
    base = (BX, BY, 1, BX * BY % P)
    return encoded(_sum_of_products(s, base, k, minus_a)) == r


def _sum_of_products(s: int, b: "Point", k: int, a: "Point") -> "Point":
    """s × b + k × a, by doubling and adding for both at once."""
    both = add(a, b)
    point = (0, 1, 1, 0)
    for i in range(31, -1, -1):
        s_byte = (s >> 8 * i) & 0xFF
        k_byte = (k >> 8 * i) & 0xFF
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):
            point = double(point)
            if s_byte & bit:
                point = add(point, both if k_byte & bit else b)
            elif k_byte & bit:
                point = add(point, a)
    return point


def add(p: "Point", q: "Point") -> "Point":
    """Complete: of any two points of the group, also of equal ones."""
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = t1 * t2 % P * _D2 % P
    d = 2 * z1 * z2 % P
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def double(p: "Point") -> "Point":
    """Twice p."""
    x, y, z, _ = p
    a = x * x % P
    b = y * y % P
    h = a + b
    e = h - (x + y) * (x + y) % P
    g = a - b
    f = 2 * z * z % P + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def encoded(p: "Point") -> bytes:
    """32 bytes (RFC 8032, 5.1.2)."""
    inverse = pow(p[2], P - 2, P)
    y = bytearray((p[1] * inverse % P).to_bytes(32, "little"))
    if p[0] * inverse % P & 1:
        y[31] |= _SIGN
    return bytes(y)
