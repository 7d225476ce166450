"""NIST P-256: ECDSA signatures and key agreement (FIPS 186-5, SP 800-186, SEC 1).

Python's integers take a time that depends on their values, so every secret is blinded before it is
worked on: scalars by a random multiple of the group's order, points by random projective
coordinates, inverses by a random factor. The number of bytecode steps depends on no secret at all:
scalars are written in digits +1 and −1, so that no digit is zero and every column costs the same
doubling and the same addition.

The additions know no special cases: the sum of a point and itself, its opposite, or nothing is
wrong. For scalars that chance draws this happens once in about 2^250 times, and nobody else chooses
a scalar here.

Points are Jacobian (X, Y, Z). Numbers are integers; on the wire they are 32 bytes, big endian.
"""

from hashlib import sha256

from micropython import const

from lib import hmac
from lib.p256_table import TABLE

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typing import TypeAlias

    from typed.kinds import Pause, Random, Readable

    Point: TypeAlias = tuple[int, int, int]

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

# Fixed-base comb: 7 teeth of 41 columns hold a scalar of 287 bits; lib/p256_table.py has the 64
# points.
_TEETH = const(7)
_COLUMNS = const(41)
# Any base: 72 windows of 4 bits hold a scalar of 288 bits.
_WINDOWS = const(72)


class InvalidError(Exception):
    """A point that is not on the curve, or a number out of range."""


def _number(data: "Readable") -> int:
    return int.from_bytes(data, "big")


def scalar(data: bytes) -> int:
    """A number in 1..N−1 out of 48 random bytes: enough for no bias and no retries."""
    return _number(data) % (N - 1) + 1


def _double(x: int, y: int, z: int) -> "Point":
    zz = z * z % P
    yy = y * y % P
    xyy = x * yy % P
    slope = 3 * (x - zz) * (x + zz) % P
    x3 = (slope * slope - 8 * xyy) % P
    return x3, (slope * (4 * xyy - x3) - 8 * yy * yy) % P, 2 * y * z % P


def _add_affine(x1: int, y1: int, z1: int, x2: int, y2: int) -> "Point":
    """Sum of two different points, the second with Z = 1."""
    zz = z1 * z1 % P
    h = (x2 * zz - x1) % P
    r = (y2 * z1 * zz - y1) % P
    hh = h * h % P
    hhh = h * hh % P
    v = x1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - y1 * hhh) % P, z1 * h % P


def _add(x1: int, y1: int, z1: int, x2: int, y2: int, z2: int) -> "Point":
    """Sum of two different points."""
    z2z2 = z2 * z2 % P
    x, y, z = _add_affine(x1 * z2z2 % P, y1 * z2 * z2z2 % P, z1, x2, y2)
    return x, y, z * z2 % P


def _blinded(k: int, random: bytes, bits: int) -> bytes:
    """Digits of k + r·N, an odd number, as bits (1: +1, 0: −1), lowest first. random: 4 bytes."""
    k += (_number(random) >> 2) * N
    k += N * (1 - (k & 1))
    return ((k >> 1) | 1 << (bits - 1)).to_bytes(36, "little")


def _base_times(k: int, random: bytes, pause: "Pause | None") -> "Point":
    """k·G. random: 36 bytes."""
    digits = _blinded(k, random[:4], _TEETH * _COLUMNS)
    z = _number(random[4:]) % (P - 1) + 1
    point = None
    for column in range(_COLUMNS - 1, -1, -1):
        index = 0
        for at in range(_TEETH * _COLUMNS - _COLUMNS + column, -1, -_COLUMNS):
            index = index << 1 | digits[at >> 3] >> (at & 7) & 1
        positive = index >> 6
        index = ((index ^ (positive - 1)) & 63) << 6
        x = _number(TABLE[index : index + 32])
        y = _number(TABLE[index + 32 : index + 64]) * (2 * positive - 1) % P
        if point is None:
            zz = z * z % P
            point = (x * zz % P, y * z * zz % P, z)
        else:
            point = _add_affine(*_double(*point), x, y)
        if pause is not None:
            pause()
    assert point is not None  # there are columns
    return point


def _affine(x: int, y: int, z: int) -> "tuple[int, int]":
    inverse = pow(z, P - 2, P)  # pow(z, -1, P) is not there
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def public_key(private: int, urandom: "Random", pause: "Pause | None" = None) -> bytes:
    """X ‖ Y, 64 bytes. `urandom(n)` gives random bytes; `pause` is called often."""
    x, y = _affine(*_base_times(private, urandom(36), pause))
    return x.to_bytes(32, "big") + y.to_bytes(32, "big")


def _nonce(private: int, digest: bytes, entropy: bytes) -> int:
    """Hedged: unpredictable when either the key or the entropy is (RFC 6979, 3.6, with HMAC counted
    out).
    """
    key = private.to_bytes(32, "big")
    seed = hmac.digest(sha256, key, digest + entropy)
    return scalar(hmac.digest(sha256, seed, b"\x01") + hmac.digest(sha256, seed, b"\x02")[:16])


def sign(
    private: int, digest: bytes, urandom: "Random", pause: "Pause | None" = None
) -> "tuple[int, int]":
    """ECDSA over a 32-byte digest (FIPS 186-5, 6.4): (r, s). `urandom(n)` gives random bytes;
    `pause` is called often. Raises InvalidError once in 2^255 signatures.
    """
    k = _nonce(private, digest, urandom(32))
    x, _ = _affine(*_base_times(k, urandom(36), pause))
    r = x % N
    blind = scalar(urandom(48))
    inverse = pow(k * blind % N, N - 2, N)
    s = inverse * ((blind * _number(digest) % N + r * (blind * private % N)) % N) % N
    if not r or not s:
        raise InvalidError  # happens once in 2^255 signatures
    return r, s


def _der_integer(value: int) -> bytes:
    data = value.to_bytes(33, "big")
    start = 0
    while data[start] == 0 and data[start + 1] < 0x80:
        start += 1
    return bytes((2, 33 - start)) + data[start:]


def der(r: int, s: int) -> bytes:
    """Ecdsa-Sig-Value (RFC 3279, 2.2.3)."""
    body = _der_integer(r) + _der_integer(s)
    return bytes((0x30, len(body))) + body


def shared_x(private: int, peer: bytes, urandom: "Random", pause: "Pause | None" = None) -> bytes:
    """X (32 bytes) of private · peer. peer: X ‖ Y. Raises InvalidError for a bad point."""
    x, y = _number(peer[:32]), _number(peer[32:])
    if len(peer) != 64 or x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P:
        raise InvalidError
    random = urandom(36)
    z = _number(random[4:]) % (P - 1) + 1
    zz = z * z % P
    point = (x * zz % P, y * z * zz % P, z)
    twice = _double(*point)
    odd = [point]  # 1, 3 … 15 times the point
    for _ in range(7):
        odd.append(_add(*twice, *odd[-1]))
    digits = _blinded(private, random[:4], _WINDOWS * 4)
    total = None
    for window in range(_WINDOWS - 1, -1, -1):
        nibble = digits[window >> 1] >> (window & 1) * 4 & 15
        positive = nibble >> 3
        x, y, z = odd[(nibble ^ (positive - 1)) & 7]
        y = y * (2 * positive - 1) % P
        if total is None:
            total = (x, y, z)
        else:
            total = _add(*_double(*_double(*_double(*_double(*total)))), x, y, z)
        if pause is not None:
            pause()
    assert total is not None  # there are windows
    return _affine(*total)[0].to_bytes(32, "big")
