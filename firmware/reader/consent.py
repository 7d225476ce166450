"""What registering and logging in have in common: parameters, who may, authenticator data."""

from hashlib import sha256

from lib import ctap
from reader import protocol
from reader.refused import Refused
from reader.store import ALWAYS_UV, FORCE_PIN_CHANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from reader.app import Reader
    from typed.kinds import Item, Map

    T = TypeVar("T")
    D = TypeVar("D")


def need(request: "Map", key: "Item", kind: "type[T]") -> "T":
    """A parameter that must be there and of a type. Raises Refused."""
    if key not in request:
        raise Refused(ctap.MISSING_PARAMETER)
    return of_type(request[key], kind)


def of_type(value: "Item", kind: "type[T]") -> "T":
    """Raises Refused."""
    if not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise Refused(ctap.UNEXPECTED_TYPE)
    return value


def optional(request: "Map", key: "Item", kind: "type[T]", default: "D") -> "T | D":
    """Raises Refused."""
    return of_type(request[key], kind) if key in request else default


def token_parameters(request: "Map", signature_key: int, version_key: int) -> "tuple[bytes, int]":
    """pinUvAuthParam and pinUvAuthProtocol, which must be there. Raises Refused."""
    if signature_key not in request:
        raise Refused(ctap.PUAT_REQUIRED)
    signature = of_type(request[signature_key], bytes)
    return signature, protocol.check_version(request, version_key)


def need_all(
    request: "Map", signature_key: int, parameters: "Map | None", needed: "tuple[int, ...]"
) -> "Map":
    """The parameters of a sub-command that cannot do without: whether they are there is asked after
    whether a token is, and before the token is looked at (CTAP 2.1, 6.7 and 6.8). Raises Refused.
    """
    if signature_key not in request:
        raise Refused(ctap.PUAT_REQUIRED)
    if parameters is None:
        raise Refused(ctap.MISSING_PARAMETER)
    for key in needed:
        if key not in parameters:
            raise Refused(ctap.MISSING_PARAMETER)
    return parameters


def options(value: "Map") -> "tuple[bool | None, bool | None, bool | None]":
    """(rk, up, uv), None where the platform does not say; others are ignored. Raises Refused."""
    return (
        optional(value, "rk", bool, None),
        optional(value, "up", bool, None),
        optional(value, "uv", bool, None),
    )


def descriptors(items: "list[Item]") -> "list[bytes]":
    """Identifiers in a list of PublicKeyCredentialDescriptor. Raises Refused."""
    found = []
    for item in items:
        of_type(item, dict)
        assert isinstance(item, dict)
        identifier, known = descriptor(item)
        if known:
            found.append(identifier)
    return found


def descriptor(item: "Map") -> "tuple[bytes, bool]":
    """Identifier of a PublicKeyCredentialDescriptor, and whether it is of a kind that there is.
    Raises Refused.
    """
    identifier = need(item, "id", bytes)
    for transport in optional(item, "transports", list, []):
        of_type(transport, str)
    return identifier, need(item, "type", str) == "public-key"


def token_parameter(
    reader: "Reader", request: "Map", signature_key: int, version_key: int
) -> "tuple[bytes | None, int]":
    """pinUvAuthParam, if there is one, and pinUvAuthProtocol. An empty one asks for a touch, to
    see which of several readers is meant. Raises Refused.
    """
    signature = optional(request, signature_key, bytes, None)
    optional(request, version_key, int, None)
    if signature == b"":
        reader.user.touch(late=ctap.OPERATION_DENIED)
        raise Refused(ctap.PIN_INVALID if reader.store.pin_length else ctap.PIN_NOT_SET)
    return signature, 0 if signature is None else protocol.check_version(request, version_key)


def verified(
    reader: "Reader",
    rp_id: str,
    data_hash: bytes,
    signature: "bytes | None",
    version: int,
    uv: bool,
    permission: int,
) -> bool:
    """Whether the user is verified: by the token, or here and now by a finger. Raises Refused."""
    if signature is not None:
        reader.token.verify(version, data_hash, signature, permission)
        reader.token.bind(rp_id)
        return True
    if not uv:
        return False
    denied = ctap.PUAT_REQUIRED if reader.store.pin_length else ctap.OPERATION_DENIED
    reader.user.verify(denied, denied)
    return True


def wants_uv(reader: "Reader", uv: "bool | None", signature: "bytes | None") -> bool:
    """The uv option, after what this reader is able and told to do. Raises Refused."""
    store = reader.store
    always = store.flags & ALWAYS_UV
    if signature is not None:
        # Step 6 of 6.1.2, 5 of 6.2.2: before a proof is looked at, which nothing could have given.
        if always and not (store.pin_length or store.fingers()):
            raise Refused(ctap.PUAT_REQUIRED)
        return False
    if not (uv or always):
        return False
    if not reader.user.can_verify():
        raise Refused(ctap.INVALID_OPTION if uv else ctap.PUAT_REQUIRED)
    if store.flags & FORCE_PIN_CHANGE:
        raise Refused(ctap.PUAT_REQUIRED)  # a finger opens nothing before the PIN is a new one
    return True


def ensure_present(
    reader: "Reader", by_finger: bool, by_token: bool, late: int = ctap.OPERATION_DENIED
) -> None:
    """The user's presence: the finger just now, or that of the token which came with this very
    request, or a touch. Raises Refused, with `late` when nobody comes.
    """
    if by_finger or by_token and reader.token.present():
        return
    reader.user.touch(late=late)


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
