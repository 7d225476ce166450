"""authenticatorLargeBlobs (CTAP 2.1, 6.10). The array is gathered in RAM, written in one commit."""

from hashlib import sha256

from lib import ctap
from reader import consent
from reader.refused import Refused
from reader.sequence import BLOB
from reader.store import ALWAYS_UV

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Map

_FRAGMENT = ctap.MAX_MESSAGE - 64


def handle(reader: "Reader", request: "Map") -> "Map":
    """Raises Refused."""
    offset = consent.optional(request, 3, int, -1)
    size = consent.optional(request, 1, int, None)
    part = consent.optional(request, 2, bytes, None)
    if (size is None) == (part is None) or offset < 0:
        raise Refused(ctap.INVALID_PARAMETER)
    if size is not None:
        return _get(reader, request, offset, size)
    assert part is not None  # as size is not there
    return _set(reader, request, offset, part)


def _get(reader: "Reader", request: "Map", offset: int, size: int) -> "Map":
    if 4 in request or 5 in request or 6 in request:
        raise Refused(ctap.INVALID_PARAMETER)  # those belong to a fragment to write
    if size > _FRAGMENT:
        raise Refused(ctap.INVALID_LENGTH)
    array = reader.store.blobs()
    if size < 0 or offset > len(array):
        raise Refused(ctap.INVALID_PARAMETER)
    return {1: array[offset : offset + size]}


class _Array:
    """What has come so far of an array of `length` bytes."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.content = b""


def _set(reader: "Reader", request: "Map", offset: int, part: bytes) -> "Map":
    if len(part) > _FRAGMENT:
        raise Refused(ctap.INVALID_LENGTH)
    array = _array(reader, request, offset)
    store = reader.store
    protected = bool(store.pin_length or store.fingers() or store.flags & ALWAYS_UV)
    if protected:
        signature, version = consent.token_parameters(request, 5, 6)
        message = b"\xff" * 32 + b"\x0c\x00" + offset.to_bytes(4, "little") + sha256(part).digest()
        reader.token.verify(version, message, signature, ctap.LBW)
    if offset + len(part) > array.length:
        raise Refused(ctap.INVALID_PARAMETER)
    array.content += part
    if len(array.content) < array.length:
        reader.begin_sequence(BLOB, array, protected)
        return {}
    whole = array.content
    if sha256(whole[:-16]).digest()[:16] != whole[-16:]:
        raise Refused(ctap.INTEGRITY_FAILURE)
    store.put_blobs(whole)
    return {}


def _array(reader: "Reader", request: "Map", offset: int) -> _Array:
    """The array that a fragment at `offset` belongs to. Raises Refused."""
    length = consent.optional(request, 4, int, None)
    if offset == 0:
        if length is None or length < 17:
            raise Refused(ctap.INVALID_PARAMETER)
        if length > ctap.MAX_BLOBS:
            raise Refused(ctap.LARGE_BLOB_STORAGE_FULL)
        return _Array(length)
    if length is not None:
        raise Refused(ctap.INVALID_PARAMETER)
    sequence = reader.take_sequence(BLOB)
    array: "_Array | None" = None if sequence is None else sequence.content
    if array is None or offset != len(array.content):
        raise Refused(ctap.INVALID_SEQ)
    return array
