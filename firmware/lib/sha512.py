"""SHA-512 (FIPS 180-4), for the few bytes of an Ed25519 signature: slow, small, no state kept.

The constants are the first 64 bits of the fractional parts of cube and square roots of the first
primes; computing them costs less room than keeping them.
"""

from micropython import const

_MASK = 0xFFFFFFFFFFFFFFFF
_ROUNDS = const(80)


def sha512(data: bytes) -> bytes:
    """The digest of `data`, 64 bytes."""
    size = len(data)
    data = data + b"\x80" + bytes(-(size + 17) % 128) + (8 * size).to_bytes(16, "big")
    k, state = _constants()
    for at in range(0, len(data), 128):
        state = _block(state, data[at : at + 128], k)
    return b"".join([word.to_bytes(8, "big") for word in state])


def _constants() -> "tuple[list[bytearray], list[int]]":
    """Round constants, 8 bytes each, eight in a piece: a scattered heap has room for those. And the
    initial state."""
    k = [bytearray(64) for _ in range(_ROUNDS // 8)]
    state = []
    prime = 1
    count = 0
    while count < _ROUNDS:
        prime += 1
        if any(prime % d == 0 for d in range(2, prime) if d * d <= prime):
            continue
        if count < 8:
            state.append(_root(prime << 128, 2) & _MASK)
        at = 8 * (count & 7)
        k[count >> 3][at : at + 8] = (_root(prime << 192, 3) & _MASK).to_bytes(8, "big")
        count += 1
    return k, state


def _root(n: int, degree: int) -> int:
    """The whole part of the root, by Newton's method from above."""
    x = 1 << (208 // degree)
    while True:
        y = ((degree - 1) * x + n // x ** (degree - 1)) // degree
        if y >= x:
            return x
        x = y


def _rotated(x: int, n: int) -> int:
    return (x >> n | x << (64 - n)) & _MASK


def _block(state: "list[int]", block: bytes, k: "list[bytearray]") -> "list[int]":
    w = [int.from_bytes(block[i : i + 8], "big") for i in range(0, 128, 8)]
    a, b, c, d, e, f, g, h = state
    for i in range(_ROUNDS):
        if i >= 16:
            x, y = w[(i - 15) & 15], w[(i - 2) & 15]
            small = _rotated(x, 1) ^ _rotated(x, 8) ^ x >> 7
            large = _rotated(y, 19) ^ _rotated(y, 61) ^ y >> 6
            w[i & 15] = (w[i & 15] + small + w[(i - 7) & 15] + large) & _MASK
        t = h + (_rotated(e, 14) ^ _rotated(e, 18) ^ _rotated(e, 41))
        at = 8 * (i & 7)
        t += (e & f ^ ~e & g) + int.from_bytes(k[i >> 3][at : at + 8], "big") + w[i & 15]
        u = (_rotated(a, 28) ^ _rotated(a, 34) ^ _rotated(a, 39)) + (a & b ^ a & c ^ b & c)
        h, g, f, e, d, c, b, a = g, f, e, (d + t) & _MASK, c, b, a, (t + u) & _MASK
    after = (a, b, c, d, e, f, g, h)
    return [(x + y) & _MASK for x, y in zip(state, after)]
