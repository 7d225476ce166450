"""Base 64 without padding, as addresses and JSON Web structures have it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common import base64url


def test_rfc_7515_appendix_c():
    assert base64url.encode(bytes((3, 236, 255, 224, 193))) == "A-z_4ME"
    assert base64url.decode("A-z_4ME") == bytes((3, 236, 255, 224, 193))


@given(st.binary(max_size=64))
def test_back_and_forth(data):
    text = base64url.encode(data)
    assert "=" not in text
    assert base64url.decode(text) == base64url.decode(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize("text", ["a+b/", "ab cd", "abcd\n", "a", "äbcd", "====", None, b"abcd"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        base64url.decode(text)
