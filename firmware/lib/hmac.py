"""HMAC, RFC 2104, over hashes with 64-byte blocks. MicroPython has none of its own."""

from micropython import const

_BLOCK = const(64)


def digest(new, key: bytes, message: bytes) -> bytes:
    """HMAC(key, message). new: hashlib.sha1 or hashlib.sha256 (hash objects serve once)."""
    if len(key) > _BLOCK:
        key = new(key).digest()
    pad = bytearray(b"\x36" * _BLOCK)
    for i in range(len(key)):
        pad[i] ^= key[i]
    inner = new(pad)
    inner.update(message)
    for i in range(_BLOCK):
        pad[i] ^= 0x36 ^ 0x5C
    outer = new(pad)
    for i in range(_BLOCK):
        pad[i] = 0
    outer.update(inner.digest())
    return outer.digest()
