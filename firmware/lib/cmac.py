"""AES-CMAC, RFC 4493: one CBC pass with a zero IV over the message with its last block masked."""

from cryptolib import aes
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import Readable

_ECB = const(1)
_CBC = const(2)
_ZERO = bytes(16)


def cmac(key: "Readable", *parts: "Readable") -> bytes:
    """The 16-byte MAC of the parts, joined. key: 16 or 32 bytes."""
    size = 0
    for part in parts:
        size += len(part)
    whole = size and size % 16 == 0
    message = bytearray(size if whole else size - size % 16 + 16)
    at = 0
    for part in parts:
        message[at : at + len(part)] = part
        at += len(part)
    if not whole:
        message[size] = 0x80
    mask = _double(int.from_bytes(aes(key, _ECB).encrypt(_ZERO), "big"))
    if not whole:
        mask = _double(mask)
    last = len(message) - 16
    mask ^= int.from_bytes(message[last:], "big")
    message[last:] = mask.to_bytes(16, "big")
    aes(key, _CBC, _ZERO).encrypt(message, message)
    return bytes(message[last:])


def same(a: "Readable", b: "Readable") -> bool:
    """Whether a equals b, in time that depends on the lengths alone."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return difference == 0


def _double(block: int) -> int:
    """Multiply by x in GF(2^128) without a branch on the secret top bit."""
    top = block >> 127
    return (block << 1) ^ (top << 128) ^ (top * 0x87)
