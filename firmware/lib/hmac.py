"""HMAC, RFC 2104, over hashes with 64-byte blocks. MicroPython has none of its own."""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import NewHash, Readable

_BLOCK = const(64)


def digest(new: "NewHash", key: "Readable", message: "Readable") -> bytes:
    """HMAC(key, message). new: hashlib.sha1 or hashlib.sha256 (hash objects serve once)."""
    if len(key) > _BLOCK:
        key = new(key).digest()
    pad = bytearray(b"\x36" * _BLOCK)
    for i in range(len(key)):
        pad[i] ^= key[i]
    inner = new(pad)
    inner.update(message)
    pad[:] = b"\x5c" * _BLOCK
    for i in range(len(key)):
        pad[i] ^= key[i]
    outer = new(pad)
    pad[:] = bytes(_BLOCK)
    outer.update(inner.digest())
    return outer.digest()
