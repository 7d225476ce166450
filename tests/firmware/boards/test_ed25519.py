"""Ed25519 and SHA-512 of the card, on real MicroPython with a card's heap: RFC 8032's vectors, FIPS
180-4 against Python's, and what a strict verifier refuses."""

from __future__ import annotations

import hashlib

import pytest

from tallystick.tools.image.keys import SigningKey, point_x

# RFC 8032, section 7.1, tests 1 to 3 and SHA(abc): public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
        "c6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
VERIFY = """
from lib.ed25519 import verify
cases = [[bytes.fromhex(text) for text in (p, m, s)] + [int(x)] for p, x, m, s in {cases!r}]
answer([verify(p, x, m, s) for p, m, s, x in cases])
"""


def case(public: str, message: str, signature: str):
    return public, str(point_x(bytes.fromhex(public))), message, signature


def test_published_vectors(micropython):
    cases = [case(*vector) for vector in VECTORS]
    assert micropython.run(VERIFY.format(cases=cases)) == [True] * len(VECTORS)


def test_headers_signed_by_the_host(micropython):
    keys = [SigningKey.of(bytes([n]) * 32) for n in range(4)]
    cases = []
    for n, key in enumerate(keys):
        message = bytes([n]) * 64
        cases.append(case(key.public.hex(), message.hex(), key.sign(message).hex()))
    assert micropython.run(VERIFY.format(cases=cases)) == [True] * 4


def test_what_is_refused(micropython):
    public, message, signature = VECTORS[2]
    r, s = bytes.fromhex(signature)[:32], int.from_bytes(bytes.fromhex(signature)[32:], "little")
    wrong = []
    for bit in (0, 77, 255, 256, 300, 511):
        changed = bytearray(bytes.fromhex(signature))
        changed[bit // 8] ^= 1 << bit % 8
        wrong.append(case(public, message, changed.hex()))
    wrong.append(case(public, message + "00", signature))
    wrong.append(case(public, message, (r + (s + ORDER).to_bytes(32, "little")).hex()))  # malleable
    wrong.append(case(public, message, signature[:-2]))
    wrong.append(case(public, message, signature + "00"))
    wrong.append(case(VECTORS[0][0], message, signature))
    assert micropython.run(VERIFY.format(cases=wrong)) == [False] * len(wrong)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 111, 112, 127, 128, 200, 300])
def test_sha512(micropython, size):
    data = bytes(i * 7 & 255 for i in range(size))
    source = f"from lib.sha512 import sha512\nanswer(sha512(bytes.fromhex({data.hex()!r})).hex())"
    assert micropython.run(source) == hashlib.sha512(data).hexdigest()
