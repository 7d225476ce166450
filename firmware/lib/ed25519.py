"""Verification of Ed25519 signatures (RFC 8032, section 5.1.7).

Only public values pass through here, so nothing need be constant in time. The check is the strict
one: S below the group order, the public key canonical, and R compared as bytes, without a cofactor.
"""

from micropython import const

from lib.sha512 import sha512

_P = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFED
_L = 0x1000000000000000000000000000000014DEF9DEA2F79CD65812631A5CF5D3ED
_D2 = 0x2406D9DC56DFFCE7198E80F2EEF3D13000E0149A8283B156EBD69B9426B2F159  # 2 × d
_D = 0x52036CEE2B6FFE738CC740797779E89800700A4D4141D8AB75EB4DCA135978A3
_I = 0x2B8324804FC1DF0B2B4D00993DFBD7A72F431806AD2FE478C4EE1B274A0EA0B0  # square root of -1
_BX = 0x216936D3CD6E53FEC0A4E231FDD6DC5C692CC7609525A7B2C9562D608F25D51A
_BY = 0x6666666666666666666666666666666666666666666666666666666666666658
_SIGN = const(0x80)

# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z (RFC 8032, section 5.1.4).


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) over `message` was made with the key of `public_key` (32)."""
    a = _decoded(public_key)
    s = int.from_bytes(signature[32:], "little")
    if a is None or len(signature) != 64 or s >= _L:
        return False
    r = bytes(signature[:32])
    k = int.from_bytes(sha512(r + public_key + message), "little") % _L
    minus_a = (_P - a[0], a[1], 1, _P - a[3])
    base = (_BX, _BY, 1, _BX * _BY % _P)
    return _encoded(_sum_of_products(s, base, k, minus_a)) == r


def _sum_of_products(s, b, k, a):
    """s × b + k × a, by doubling and adding for both at once."""
    both = _add(a, b)
    point = (0, 1, 1, 0)
    for i in range(31, -1, -1):
        s_byte = (s >> 8 * i) & 0xFF
        k_byte = (k >> 8 * i) & 0xFF
        for bit in (128, 64, 32, 16, 8, 4, 2, 1):
            point = _double(point)
            if s_byte & bit:
                point = _add(point, both if k_byte & bit else b)
            elif k_byte & bit:
                point = _add(point, a)
    return point


def _add(p, q):
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = t1 * t2 % _P * _D2 % _P
    d = 2 * z1 * z2 % _P
    e = b - a
    f = d - c
    g = d + c
    h = b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(p):
    x, y, z, _ = p
    a = x * x % _P
    b = y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _decoded(key):
    """The point that 32 bytes stand for, or None (RFC 8032, section 5.1.3)."""
    if len(key) != 32:
        return None
    y = int.from_bytes(key[:31] + bytes((key[31] & 0x7F,)), "little")
    if y >= _P:
        return None
    u = y * y - 1
    v = _D * y * y + 1
    x = u * v**3 * pow(u * v**7 % _P, (_P - 5) // 8, _P) % _P
    if (v * x * x - u) % _P:
        x = x * _I % _P
        if (v * x * x - u) % _P:
            return None
    odd = bool(key[31] & _SIGN)
    if not x and odd:
        return None
    if bool(x & 1) != odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _encoded(p):
    inverse = pow(p[2], _P - 2, _P)
    y = bytearray((p[1] * inverse % _P).to_bytes(32, "little"))
    if p[0] * inverse % _P & 1:
        y[31] |= _SIGN
    return bytes(y)
