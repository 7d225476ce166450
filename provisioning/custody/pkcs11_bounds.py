"""What a key in a module may do: its rights, the mechanisms that it serves, and what it may wrap.
python-pkcs11 gives every right that is not named, and leaves the form of attributes that are arrays
to its user."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.attributes import AttributeMapper

_LONG = struct.Struct("@L")  # CK_ULONG
_ITEM = struct.Struct("@LPL")  # CK_ATTRIBUTE: type, address of the value, its size

# What every template begins with: a right that it does not name again is not held, and not by a
# copy either.
NO_RIGHTS: Mapping[Attribute, Any] = dict.fromkeys(
    (
        Attribute.COPYABLE,
        Attribute.ENCRYPT,
        Attribute.DECRYPT,
        Attribute.SIGN,
        Attribute.VERIFY,
        Attribute.WRAP,
        Attribute.UNWRAP,
        Attribute.DERIVE,
    ),
    False,
)
# With another mechanism a module may give a key away: EXTRACT_KEY_FROM_KEY gives a byte of it as a
# key that is soon guessed. Of the server's key: it wraps seeds, and no card's key.
MASTER_BOUNDS: Mapping[Attribute, Any] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_ECB_ENCRYPT_DATA,),
}
SERVER_BOUNDS: Mapping[Attribute, Any] = {
    Attribute.ALLOWED_MECHANISMS: (Mechanism.AES_CBC,),
    Attribute.WRAP_TEMPLATE: {Attribute.KEY_TYPE: KeyType.GENERIC_SECRET},
}

_UNKNOWN = (pkcs11.AttributeTypeInvalid, pkcs11.AttributeValueInvalid)


def mapper() -> AttributeMapper:
    """For `Token.open`: it has the forms of the attributes above, and keeps the values that a
    packed template points to."""
    made, values = AttributeMapper(), list[Any]()

    def pack_template(template: Mapping[Attribute, Any]) -> bytes:
        packed = b""
        for name, value in template.items():
            content = made.pack_attribute(name, value)
            values.append(ctypes.create_string_buffer(content, len(content)))
            packed += _ITEM.pack(name, ctypes.addressof(values[-1]), len(content))
        return packed

    made.register_handler(Attribute.ALLOWED_MECHANISMS, _pack_mechanisms, _unpack_mechanisms)
    made.register_handler(Attribute.WRAP_TEMPLATE, pack_template, bytes)
    return made


def _pack_mechanisms(mechanisms: Sequence[int]) -> bytes:
    return b"".join(map(_LONG.pack, mechanisms))


def _unpack_mechanisms(packed: bytes) -> tuple[int, ...]:
    return tuple(value for (value,) in _LONG.iter_unpack(packed))


def make_bounded(
    make: Callable[[dict[Attribute, Any]], object],
    template: dict[Attribute, Any],
    bounds: Mapping[Attribute, Any],
) -> None:
    """A key of that template: within the bounds, where the module knows such attributes."""
    try:
        make({**template, **bounds})
    except _UNKNOWN:
        make(template)


def serves_any_mechanism(key: Any) -> bool:
    """Whether nothing bounds it: the module knows no bounds, or the key was made before them."""
    try:
        return not key[Attribute.ALLOWED_MECHANISMS]
    except pkcs11.PKCS11Error:
        return True
