"""The host's arithmetic for `lib/p256.py`, against published vectors."""

from __future__ import annotations

import hashlib

from tallystick.emulator.chip import host_p256

# RFC 6979, A.2.5: key pair, nonce and signature of "sample" with SHA-256.
PRIVATE = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"
X = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
Y = "7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299"
NONCE = "A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60"
R = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
S = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"


def _of(*numbers: str) -> bytes:
    return bytes.fromhex("".join(numbers))


def test_a_key_pair() -> None:
    assert host_p256.answer(0, _of(PRIVATE)) == _of(X, Y)


def test_a_signature() -> None:
    digest = hashlib.sha256(b"sample").digest()
    assert host_p256.answer(1, _of(NONCE, PRIVATE) + digest) == _of(R, S)


def test_what_two_share() -> None:
    """Each with the other's public key."""
    other = host_p256.answer(0, _of(NONCE))
    shared = host_p256.answer(2, _of(PRIVATE) + other)
    assert len(shared) == 32
    assert shared == host_p256.answer(2, _of(NONCE, X, Y))


def test_what_is_no_point() -> None:
    assert host_p256.answer(2, _of(PRIVATE, X, X)) == b""
