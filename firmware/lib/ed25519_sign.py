"""Ed25519: keys and signatures (RFC 8032, 5.1), of scalars that the caller draws.

A scalar is taken as it is, not out of the SHA-512 of a seed, so that the only thing hashed with
SHA-512 is public. As in lib/p256.py, what is computed with a secret takes the same steps for all
of them, and each secret is blinded first: scalars by a random multiple of the group's order, points
by random projective coordinates. The additions are complete: no case is special.
"""

from hashlib import sha256

from micropython import const

from lib import ed25519, hmac
from lib.sha512 import sha512

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import Pause, Random

_BITS = const(288)  # a blinded scalar has at most 285
_WINDOWS = const(72)  # of 4 bits


def scalar(data: bytes) -> int:
    """A number in 1..L−1 out of 48 random bytes: enough for no bias and no retries."""
    return int.from_bytes(data, "little") % (ed25519.L - 1) + 1


def _blinded(k: int, random: bytes) -> bytes:
    """k + n·L, an odd number, in digits +1 and −1, as bits (1: +1, 0: −1), lowest first."""
    k += (int.from_bytes(random, "little") >> 2) * ed25519.L
    k += ed25519.L * (1 - (k & 1))
    return ((k >> 1) | 1 << (_BITS - 1)).to_bytes(_BITS // 8, "little")


def _base_times(k: int, urandom: "Random", pause: "Pause | None") -> bytes:
    """k · B, encoded (32 bytes)."""
    p = ed25519.P
    random = urandom(36)
    z = int.from_bytes(random[4:], "little") % (p - 1) + 1
    x, y = ed25519.BX, ed25519.BY
    point = (x * z % p, y * z % p, z, x * y % p * z % p)
    twice = ed25519.double(point)
    odd = [point]  # 1, 3 … 15 times the point
    for _ in range(7):
        odd.append(ed25519.add(odd[-1], twice))
    digits = _blinded(k, random[:4])
    total = None
    for window in range(_WINDOWS - 1, -1, -1):
        value = digits[window >> 1] >> 4 * (window & 1) & 15
        positive = value >> 3
        sign = 2 * positive - 1
        x, y, z, t = odd[(value ^ (positive - 1)) & 7]
        addend = (x * sign % p, y, z, t * sign % p)
        if total is None:
            total = addend
        else:
            for _ in range(4):
                total = ed25519.double(total)
            total = ed25519.add(total, addend)
        if pause is not None:
            pause()
    assert total is not None  # there are windows
    return ed25519.encoded(total)


def public_key(private: int, urandom: "Random", pause: "Pause | None" = None) -> bytes:
    """32 bytes. `urandom(n)` gives random bytes; `pause` is called often."""
    return _base_times(private, urandom, pause)


def _nonce(private: int, message: bytes, entropy: bytes) -> int:
    """Hedged: unpredictable when either the key or the entropy is."""
    key = private.to_bytes(32, "little")
    seed = hmac.digest(sha256, key, sha256(message).digest() + entropy)
    return scalar(hmac.digest(sha256, seed, b"\x01") + hmac.digest(sha256, seed, b"\x02")[:16])


def sign(private: int, message: bytes, urandom: "Random", pause: "Pause | None" = None) -> bytes:
    """64 bytes (RFC 8032, 5.1.6). `urandom(n)` gives random bytes; `pause` is called often."""
    public = _base_times(private, urandom, pause)
    nonce = _nonce(private, message, urandom(32))
    return with_nonce(private, public, nonce, message, urandom, pause)


def with_nonce(
    private: int,
    public: bytes,
    nonce: int,
    message: bytes,
    urandom: "Random",
    pause: "Pause | None" = None,
) -> bytes:
    """As `sign`, of a nonce that nobody knows and that is used once."""
    r = _base_times(nonce, urandom, pause)
    k = int.from_bytes(sha512(r + public + message), "little") % ed25519.L
    blind = private + (int.from_bytes(urandom(8), "little") | 1) * ed25519.L
    s = (nonce + k * blind) % ed25519.L
    return r + s.to_bytes(32, "little")
