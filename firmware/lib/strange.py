"""Records that another firmware wrote: whole, and of a size that this one does not know."""

from binascii import crc32
from hashlib import sha256

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.board import Flash

_SLOT = const(256)  # as in lib/journal.py, which every firmware must keep
_HEAD = const(12)
_CHECK = const(8)


def size(flash: "Flash", address: int) -> int:
    """Of the payload of the record at an address whose check is right; -1 when it has none."""
    record = bytearray(_SLOT)
    flash.read(address, record)
    whole = memoryview(record)
    check = crc32(whole[:_HEAD])
    for end in range(_HEAD + 1, _SLOT - _CHECK + 1):
        check = crc32(whole[end - 1 : end], check)
        if (
            whole[end : end + 4] == check.to_bytes(4, "little")
            and whole[end + 4 : end + 8] == sha256(whole[:end]).digest()[:4]
        ):
            return end - _HEAD
    return -1
