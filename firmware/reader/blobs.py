"""authenticatorLargeBlobs (CTAP 2.1, 6.10). The array is gathered in RAM, written in one commit."""

from hashlib import sha256

from lib import ctap
from reader import consent, protocol
from reader.refused import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reader.app import Reader
    from typed.kinds import Map

_FRAGMENT = ctap.MAX_MESSAGE - 64


def handle(reader: "Reader", request: "Map") -> "Map":
    """Raises Refused."""
    offset = consent.need(request, 3, int)
    size = consent.optional(request, 1, int, None)
    part = consent.optional(request, 2, bytes, None)
    if (size is None) == (part is None) or offset < 0:
        raise Refused(ctap.INVALID_PARAMETER)
    if size is not None:
        if size > _FRAGMENT:
            raise Refused(ctap.INVALID_LENGTH)
        array = reader.store.blobs()
        if size < 0 or offset > len(array):
            raise Refused(ctap.INVALID_PARAMETER)
        return {1: array[offset : offset + size]}
    assert part is not None  # as size is not there
    return _set(reader, request, offset, part)


def _set(reader: "Reader", request: "Map", offset: int, part: bytes) -> "Map":
    length = consent.optional(request, 4, int, None)
    if len(part) > _FRAGMENT:
        raise Refused(ctap.INVALID_LENGTH)
    if offset == 0:
        if length is None or length < 17:
            raise Refused(ctap.INVALID_PARAMETER)
        if length > ctap.MAX_BLOBS:
            raise Refused(ctap.LARGE_BLOB_STORAGE_FULL)
        reader.blob_length, reader.blob = length, b""
    elif length is not None or reader.blob is None or offset != len(reader.blob):
        raise Refused(ctap.INVALID_PARAMETER)
    store = reader.store
    if store.pin_length or store.fingers():
        signature = request.get(5)
        if signature is None:
            raise Refused(ctap.PUAT_REQUIRED)
        message = b"\xff" * 32 + b"\x0c\x00" + offset.to_bytes(4, "little") + sha256(part).digest()
        reader.token.verify(protocol.check_version(request.get(6)), message, signature, ctap.LBW)
    if offset + len(part) > reader.blob_length:
        raise Refused(ctap.INVALID_PARAMETER)
    reader.blob += part
    if len(reader.blob) == reader.blob_length:
        array, reader.blob = reader.blob, None
        if sha256(array[:-16]).digest()[:16] != array[-16:]:
            raise Refused(ctap.INTEGRITY_FAILURE)
        store.put_blobs(array)
    return {}
