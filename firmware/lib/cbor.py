"""CBOR in CTAP2's canonical form (RFC 8949; CTAP 2.1, section 8): shortest numbers, definite
lengths, no tags, sorted keys without duplicates, at most four levels. Anything else is refused.
Nobody here computes with a float: it is kept as it came, the only item of a tuple, which is no type
that is asked for.
"""

from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from typed.kinds import Item, Readable

_DEPTH = const(4)


class InvalidError(Exception):
    """Not canonical CBOR."""


def decode(data: "Readable") -> "Item":
    """The value in `data` (bytes, memoryview), which holds nothing else. Raises InvalidError."""
    value, end = _item(data, 0, _DEPTH)
    if end != len(data):
        raise InvalidError
    return value


def _head(data: "Readable", at: int) -> "tuple[int, int, int]":
    """(major type, argument, end). Raises InvalidError."""
    if at >= len(data):
        raise InvalidError
    first = data[at]
    info = first & 31
    at += 1
    if info < 24:
        return first >> 5, info, at
    if info > 27:
        raise InvalidError
    size = 1 << (info - 24)
    end = at + size
    if end > len(data) or first >> 5 == 7 and size == 1:
        raise InvalidError
    if first >> 5 == 7:
        return 7, 0, end  # a float
    value = int.from_bytes(data[at:end], "big")
    if value < 24 or size > 1 and value < 1 << size * 4:
        raise InvalidError  # would have been shorter
    return first >> 5, value, end


def _item(data: "Readable", at: int, depth: int) -> "tuple[Item, int]":
    start = at
    major, value, at = _head(data, at)
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major < 4:
        end = at + value
        if end > len(data):
            raise InvalidError
        content = bytes(data[at:end])
        if major == 3:
            return _text(content), end
        return content, end
    if major == 7:
        if 20 <= value <= 22:
            return (False, True, None)[value - 20], at
        if at - start > 1:
            return (bytes(data[start:at]),), at
        raise InvalidError
    if major == 6 or not depth or value > len(data) - at:
        raise InvalidError
    if major == 4:
        items = []
        for _ in range(value):
            item, at = _item(data, at, depth - 1)
            items.append(item)
        return items, at
    pairs: "dict[Item, Item]" = {}
    last = b""
    for _ in range(value):
        start = at
        key, at = _item(data, at, 0)
        if isinstance(key, bool) or not isinstance(key, (int, str)):
            raise InvalidError  # True would be found under 1
        encoded = bytes(data[start:at])
        if encoded <= last:
            raise InvalidError
        last = encoded
        pairs[key], at = _item(data, at, depth - 1)
    return pairs, at


def _text(content: bytes) -> str:
    """UTF-8 (RFC 3629). MicroPython's own decoder lets overlong forms and surrogates pass."""
    follow = 0
    low, high = 0x80, 0xBF
    for byte in content:
        if follow:
            if not low <= byte <= high:
                raise InvalidError
            follow -= 1
            low, high = 0x80, 0xBF
        elif byte >= 0x80:
            if not 0xC2 <= byte <= 0xF4:
                raise InvalidError
            follow = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
            if byte == 0xE0:
                low = 0xA0
            elif byte == 0xF0:
                low = 0x90
            elif byte == 0xED:
                high = 0x9F
            elif byte == 0xF4:
                high = 0x8F
    if follow:
        raise InvalidError
    return str(content, "utf-8")


def encode(value: "Item") -> bytes:
    """Canonical CBOR of None, bool, int, bytes, str, list, dict, and of a float that came."""
    out = bytearray()
    _put(out, value)
    return bytes(out)


def _put_head(out: bytearray, major: int, value: int) -> None:
    if value < 24:
        out.append(major << 5 | value)
        return
    info = 24 if value < 0x100 else 25 if value < 0x10000 else 26 if value < 0x100000000 else 27
    out.append(major << 5 | info)
    out.extend(value.to_bytes(1 << (info - 24), "big"))


def _put(out: bytearray, value: "Item") -> None:
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, tuple):
        out.extend(value[0])
    elif isinstance(value, int):
        _put_head(out, *((0, value) if value >= 0 else (1, -1 - value)))
    elif isinstance(value, str):
        data = value.encode()
        _put_head(out, 3, len(data))
        out.extend(data)
    elif isinstance(value, list):
        _put_head(out, 4, len(value))
        for item in value:
            _put(out, item)
    elif isinstance(value, dict):
        _put_head(out, 5, len(value))
        # The order of the encoded keys is CTAP2's: type first, then length, then content.
        for key, item in sorted([(encode(key), item) for key, item in value.items()], key=_first):
            out.extend(key)
            _put(out, item)
    else:
        _put_head(out, 2, len(value))
        out.extend(value)


def _first(pair: "tuple[bytes, Item]") -> bytes:
    return pair[0]
