"""Ed25519 keys and signatures of the reader: RFC 8032's vectors, another library as the judge, and
the same steps for all secrets. The vectors' own MicroPython run is in tests/firmware/boards."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

# RFC 8032, section 7.1, tests 1 to 3: secret key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f1"
        "1d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984d"
        "c6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
EXTREME = [1, 2, 3, ORDER - 1, ORDER - 2, ORDER // 2, 1 << 252, (1 << 252) - 1]


@pytest.fixture
def ed25519(room: Callable[[str], Any]) -> Any:
    return room("lib.ed25519_sign")


def _random(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def _expanded(secret: str) -> tuple[int, bytes]:
    """Scalar and prefix (RFC 8032, 5.1.5)."""
    digest = hashlib.sha512(bytes.fromhex(secret)).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & ((1 << 254) - 8) | 1 << 254, digest[32:]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), VECTORS)
def test_vectors(ed25519: Any, secret: str, public: str, message: str, signature: str) -> None:
    scalar, prefix = _expanded(secret)
    text = bytes.fromhex(message)
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)).sign(text).hex() == signature
    key = ed25519.public_key(scalar % ORDER, _random(1))
    assert key.hex() == public
    nonce = int.from_bytes(hashlib.sha512(prefix + text).digest(), "little") % ORDER
    made = ed25519.with_nonce(scalar % ORDER, key, nonce, text, _random(2))
    assert made.hex() == signature


@pytest.mark.parametrize("number", range(12))
def test_another_library_takes_it(ed25519: Any, number: int) -> None:
    draw = random.Random(number)
    scalar = EXTREME[number] if number < len(EXTREME) else ed25519.scalar(draw.randbytes(48))
    message = draw.randbytes(number * 17)
    public = ed25519.public_key(scalar, draw.randbytes)
    signature = ed25519.sign(scalar, message, draw.randbytes)
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    assert signature[:32] != ed25519.sign(scalar, message, draw.randbytes)[:32]


def test_a_nonce_is_not_used_twice(ed25519: Any) -> None:
    """Two signatures with one nonce tell the key. Each of key, message and chance is enough."""
    draw = random.Random(1)
    seen = [
        ed25519.sign(scalar, message, chance)[:32]
        for scalar in (EXTREME[0], EXTREME[0] + 1)
        for message in (b"", b"message")
        for chance in (lambda size: b"\x5a" * size, draw.randbytes)
    ]
    assert len(set(seen)) == len(seen)


def test_the_same_steps_for_all_secrets(ed25519: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many doublings and additions, in the same order."""
    steps: list[str] = []
    curve = ed25519.ed25519
    for name in ("add", "double"):
        done = getattr(curve, name)

        def counted(*points: Any, done: Any = done, name: str = name) -> Any:
            steps.append(name)
            return done(*points)

        monkeypatch.setattr(curve, name, counted)
    courses = set()
    for number, scalar in enumerate([*EXTREME, ed25519.scalar(_random(9)(48))]):
        steps.clear()
        ed25519.sign(scalar, b"message", _random(number))
        courses.add(tuple(steps))
    assert len(courses) == 1


def test_what_is_blinded_is_the_same(ed25519: Any) -> None:
    """Whatever chance draws, the point is the same."""
    keys = {ed25519.public_key(ORDER - 1, _random(seed)) for seed in range(5)}
    assert len(keys) == 1
