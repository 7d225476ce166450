"""BER-TLV as ISO/IEC 7816-4 uses it: a strict reader for one-byte tags, and a writer."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def items(data: memoryview, bare: int = -1) -> "Iterator[tuple[int, memoryview]]":
    """Yield (tag, value) for each item of data, values as views of it.

    bare: a tag whose value is the one byte after it, without a length (YKOATH's property).
    Raises ValueError on a cut-off item, a longer length than needed, or a two-byte tag.
    """
    at = 0
    end = len(data)
    while at < end:
        tag = data[at]
        at += 1
        if tag & 0x1F == 0x1F:
            raise ValueError
        if tag == bare:
            size = 1
        else:
            size, at = _length(data, at)
        if end - at < size:
            raise ValueError
        yield tag, data[at : at + size]
        at += size


def item(tag: int, value: bytes) -> bytes:
    """One item. tag: one or two bytes (0x71, 0x9F70). value: at most 65535 bytes."""
    size = len(value)
    head = bytearray()
    if tag > 0xFF:
        head.append(tag >> 8)
    head.append(tag & 0xFF)
    if size > 0xFF:
        head.append(0x82)
        head.append(size >> 8)
    elif size > 0x7F:
        head.append(0x81)
    head.append(size & 0xFF)
    return bytes(head) + value


def _length(data: memoryview, at: int) -> "tuple[int, int]":
    """The length that stands at `at`, and where its value starts."""
    first = data[at] if at < len(data) else 0xFF
    if first < 0x80:
        return first, at + 1
    if first == 0x81 and at + 1 < len(data) and data[at + 1] > 0x7F:
        return data[at + 1], at + 2
    if first == 0x82 and at + 2 < len(data) and data[at + 1]:
        return data[at + 1] << 8 | data[at + 2], at + 3
    raise ValueError
