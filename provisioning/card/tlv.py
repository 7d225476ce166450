"""Simple and BER-TLV data objects as the card's applets use them: tags of one or two bytes,
lengths up to 65,535."""

from __future__ import annotations

from tallystick.common.errors import BadInputError


def encode(tag: int, value: bytes) -> bytes:
    """One data object. A tag over FF takes two bytes."""
    head = tag.to_bytes(2 if tag > 0xFF else 1, "big")
    size = len(value)
    if size < 0x80:
        return head + bytes((size,)) + value
    if size < 0x100:
        return head + bytes((0x81, size)) + value
    return head + b"\x82" + size.to_bytes(2, "big") + value


def decode(data: bytes) -> list[tuple[int, bytes]]:
    """The data objects of `data` in their order. Raises BadInputError for anything else."""
    objects = []
    at = 0
    try:
        while at < len(data):
            tag = data[at]
            at += 1
            if tag & 0x1F == 0x1F:
                tag = tag << 8 | data[at]
                at += 1
            size = data[at]
            at += 1
            if size > 0x80:
                width = size & 0x7F
                if width > 2:
                    raise BadInputError("A data object of the card has a length over 65,535.")
                size = int.from_bytes(data[at : at + width], "big")
                at += width
            value = data[at : at + size]
            if len(value) != size or at > len(data):
                raise IndexError
            at += size
            objects.append((tag, value))
    except IndexError:
        raise BadInputError("The card's answer ends inside a data object.") from None
    return objects


def first(data: bytes, tag: int) -> bytes:
    """The value of the first data object with `tag`. Raises BadInputError when there is none."""
    for found, value in decode(data):
        if found == tag:
            return value
    raise BadInputError(f"The card's answer has no data object {tag:02X}.")
