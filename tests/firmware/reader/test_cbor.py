"""Canonical CBOR: vectors of RFC 8949, another implementation, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fido2 import cbor as other
from hypothesis import given
from hypothesis import strategies as st

# RFC 8949, appendix A, as far as CTAP2 allows.
VECTORS = {
    "00": 0, "01": 1, "0a": 10, "17": 23, "1818": 24, "1819": 25, "1864": 100, "1903e8": 1000,
    "1a000f4240": 1000000, "1b000000e8d4a51000": 1000000000000,
    "1bffffffffffffffff": 18446744073709551615, "3bffffffffffffffff": -18446744073709551616,
    "20": -1, "29": -10, "3863": -100, "3903e7": -1000, "f4": False, "f5": True, "f6": None,
    "40": b"", "4401020304": b"\x01\x02\x03\x04", "60": "", "6161": "a", "6449455446": "IETF",
    "62225c": '"\\',
    "62c3bc": "ü", "63e6b0b4": "水", "64f0908591": "𐅑", "80": [], "83010203": [1, 2, 3],
    "8301820203820405": [1, [2, 3], [4, 5]], "a0": {}, "a201020304": {1: 2, 3: 4},
    "a26161016162820203": {"a": 1, "b": [2, 3]}, "826161a161626163": ["a", {"b": "c"}],
}  # fmt: skip

REFUSED = {
    "": "nothing", "1817": "longer than it need be", "190018": "longer than it need be",
    "1a0000ffff": "longer than it need be", "1b00000000ffffffff": "longer than it need be",
    "5f42010243030405ff": "indefinite length", "9fff": "indefinite length",
    "bfff": "indefinite length",
    "c074": "tag", "f93c": "ends early", "fb3ff19999999999": "ends early", "a1f93c0001": "key",
    "f7": "undefined", "f0": "simple value",
    "f818": "simple value", "1c": "reserved", "ff": "break", "0000": "something after it",
    "a2030401020": "odd", "a203040102": "keys not sorted", "a201020103": "key twice",
    "a26162016161": "ends early", "a2616201616102": "keys not sorted", "a261610100": "type order",
    "61ff": "not UTF-8", "62c080": "overlong UTF-8", "63eda080": "surrogate",
    "4401": "ends early", "8201": "ends early", "a101": "ends early",
    "5b7fffffffffffffff": "absurd length",
    "9b7fffffffffffffff": "absurd length", "bb7fffffffffffffff": "absurd length",
    "818181818101": "five levels", "a1818101": "a list as key",
}  # fmt: skip


@pytest.fixture(scope="module")
def cbor(room: Callable[[str], Any]) -> Any:
    return room("lib.cbor")


@pytest.mark.parametrize("encoded", VECTORS)
def test_vectors(cbor: Any, encoded: str) -> None:
    assert cbor.decode(bytes.fromhex(encoded)) == VECTORS[encoded]
    assert cbor.encode(VECTORS[encoded]).hex() == encoded


@pytest.mark.parametrize("encoded", [e for e in REFUSED if len(e) % 2 == 0])
def test_refused(cbor: Any, encoded: str) -> None:
    with pytest.raises(cbor.InvalidError):
        cbor.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", ["f93c00", "f90014", "fa47c35000", "fb3ff199999999999a"])
def test_a_float_stays_as_it_came(cbor: Any, encoded: str) -> None:
    """CTAP 2.1, 8: its size is part of it."""
    value = cbor.decode(bytes.fromhex(encoded))
    assert not isinstance(value, (int, str, bytes, list, dict)) and value is not None
    assert cbor.encode(value).hex() == encoded
    assert (
        cbor.encode(cbor.decode(bytes.fromhex(f"a10182{encoded}f6"))).hex() == f"a10182{encoded}f6"
    )


_KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=20)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=80)
    | st.text(max_size=40)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(_KEYS, v, max_size=5),
    max_leaves=12,
)


def _depth(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 0


@given(value=_VALUES)
def test_agrees_with_another_implementation(cbor: Any, value: Any) -> None:
    encoded = cbor.encode(value)
    if value is not None and not _has_none(value):
        assert encoded == other.encode(value)
    if _depth(value) <= 4:
        assert cbor.decode(encoded) == value
    else:
        with pytest.raises(cbor.InvalidError):
            cbor.decode(encoded)


def _has_none(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_none, value))
    if isinstance(value, dict):
        return any(map(_has_none, value.values()))
    return value is None


@given(data=st.binary(max_size=60))
def test_what_is_decoded_encodes_to_the_same_bytes(cbor: Any, data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except cbor.InvalidError:
        return
    assert cbor.encode(value) == data


def test_on_micropython(micropython: Any) -> None:
    source = f"""
from lib import cbor
bad = []
for text in {[e for e in REFUSED if len(e) % 2 == 0]!r}:
    try:
        cbor.decode(bytes.fromhex(text))
        bad.append(text)
    except cbor.InvalidError:
        pass
for text in {list(VECTORS)!r}:
    if cbor.encode(cbor.decode(bytes.fromhex(text))).hex() != text:
        bad.append(text)
answer(bad)
"""
    assert micropython.run(source) == []
