"""How codes come of a seed, as one value: RFC vectors, and every way through a container."""

from __future__ import annotations

import pytest

from tallystick.common.errors import BadInputError
from tallystick.common.secret import Secret
from tallystick.provisioning import container
from tallystick.provisioning.credential import CodeKind, HmacHash
from tallystick.provisioning.custody.software import SoftwareSeed

# RFC 6238, appendix B: moving factor 1, seeds of 20, 32 and 64 bytes
VECTORS = [
    (HmacHash.SHA1, b"12345678901234567890", "94287082"),
    (HmacHash.SHA256, b"12345678901234567890123456789012", "46119246"),
    (HmacHash.SHA512, (b"1234567890" * 7)[:64], "90693936"),
]


@pytest.mark.parametrize(("hash_", "seed", "code"), VECTORS)
def test_codes_of_every_hash_and_length(custody, hash_, seed, code):
    for digits in (6, 7, 8):
        kind = CodeKind(digits, hash_)
        assert SoftwareSeed(Secret(seed), custody).codes(1, 1, kind) == [code[-digits:]]


@pytest.mark.parametrize("hash_", HmacHash)
@pytest.mark.parametrize("digits", [6, 7, 8])
def test_a_container_says_the_kind(custody, hash_, digits):
    seed = SoftwareSeed(Secret.random(20), custody)
    made = container.build(custody, seed, "TS00000001", CodeKind(digits, hash_), 2)
    read = container.parts(made)
    assert (read.kind, read.moving_factor) == (CodeKind(digits, hash_), 2)


@pytest.mark.parametrize("digits", [5, 9, 0, -1])
def test_other_lengths_are_refused(digits):
    with pytest.raises(BadInputError, match=f"{digits} digits"):
        CodeKind(digits)
