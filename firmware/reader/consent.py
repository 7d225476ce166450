"""What registering and logging in have in common: parameters, who may, authenticator data."""

from hashlib import sha256

from lib import ctap
from reader import protocol
from reader.refused import Refused
from reader.store import ALWAYS_UV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from reader.app import Reader
    from typed.kinds import Item, Map

    T = TypeVar("T")
    D = TypeVar("D")


def need(request: "Map", key: "Item", kind: "type[T]") -> "T":
    """A parameter that must be there and of a type. Raises Refused."""
    value = request.get(key)
    if value is None:
        raise Refused(ctap.MISSING_PARAMETER)
    return of_type(value, kind)


def of_type(value: "Item", kind: "type[T]") -> "T":
    """Raises Refused."""
    if not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise Refused(ctap.UNEXPECTED_TYPE)
    return value


def optional(request: "Map", key: "Item", kind: "type[T]", default: "D") -> "T | D":
    """Raises Refused."""
    value = request.get(key)
    return default if value is None else of_type(value, kind)


def options(value: "Map") -> "tuple[bool | None, bool | None, bool | None]":
    """(rk, up, uv), None where the platform does not say. Raises Refused."""
    for flag in value.values():
        of_type(flag, bool)
    # All were looked at above.
    return value.get("rk"), value.get("up"), value.get("uv")  # type: ignore[return-value]


def descriptors(items: "list[Item]") -> "list[bytes]":
    """Identifiers in a list of PublicKeyCredentialDescriptor. Raises Refused."""
    found = []
    for item in items:
        of_type(item, dict)
        assert isinstance(item, dict)
        identifier = need(item, "id", bytes)
        if need(item, "type", str) == "public-key":
            found.append(identifier)
    return found


def probe(reader: "Reader", signature: "bytes | None") -> None:
    """An empty pinUvAuthParam asks for a touch, to see which of several readers is meant. Raises
    Refused.
    """
    if signature == b"":
        reader.user.touch()
        raise Refused(ctap.PIN_INVALID if reader.store.pin_length else ctap.PIN_NOT_SET)


def verified(
    reader: "Reader",
    rp_id: str,
    data_hash: bytes,
    signature: "bytes | None",
    version: "Item",
    uv: bool,
    permission: int,
) -> bool:
    """Whether the user is verified: by the token, or here and now by a finger. Raises Refused."""
    if signature is not None:
        version = protocol.check_version(version)
        reader.token.verify(version, data_hash, signature, permission)
        reader.token.bind(rp_id)
        return True
    if not uv:
        return False
    reader.user.verify(ctap.PUAT_REQUIRED if reader.store.pin_length else ctap.OPERATION_DENIED)
    return True


def wants_uv(reader: "Reader", uv: "bool | None", signature: "bytes | None") -> bool:
    """The uv option, after what this reader is able and told to do. Raises Refused."""
    able = reader.user.can_verify()
    if signature is not None:
        return False
    if uv and not able:
        raise Refused(ctap.INVALID_OPTION)
    if reader.store.flags & ALWAYS_UV and not uv:
        if not able:
            raise Refused(ctap.PUAT_REQUIRED)
        return True
    return bool(uv)


def ensure_present(reader: "Reader", by_finger: bool) -> None:
    """The user's presence: the finger just now, the token's, or a touch. Raises Refused."""
    if not by_finger and not reader.token.present():
        reader.user.touch()


def authenticator_data(
    rp_hash: bytes, flags: int, count: int, attested: bytes, extensions: bytes
) -> bytes:
    """WebAuthn 6.1."""
    if attested:
        flags |= ctap.AT
    if extensions:
        flags |= ctap.ED
    return rp_hash + bytes((flags,)) + count.to_bytes(4, "big") + attested + extensions


def count_signature(reader: "Reader") -> int:
    """The next signature counter, which is in flash before anything is signed with it."""
    count = reader.store.signatures + 1
    reader.store.commit(signatures=count)
    return count


def hash_of(rp_id: str) -> bytes:
    """SHA-256 of a relying party's id: rpIdHash (WebAuthn 6.1), 32 bytes."""
    return sha256(rp_id.encode()).digest()
