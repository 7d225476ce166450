"""HOTP, RFC 4226, with HMAC-SHA-1."""

from hashlib import sha1

from lib import hmac


def full(seed: bytes, moving_factor: int) -> bytes:
    """The whole HMAC, 20 bytes (RFC 4226, 5.2). moving_factor: 0 to 2^64 - 1."""
    return hmac.digest(sha1, seed, moving_factor.to_bytes(8, "big"))


def code(seed: bytes, moving_factor: int, digits: int) -> str:
    """The code: dynamic truncation (RFC 4226, 5.3) to 6 to 8 digits."""
    mac = full(seed, moving_factor)
    at = mac[19] & 0x0F
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFFFFFF
    return "%0*d" % (digits, number % 10**digits)
