"""What each deed does to a block: (relay, way, block, number) → the blocks that go on."""

from __future__ import annotations

from tallystick.tools.campaign.wire.deeds import TO_CARD
from tallystick.tools.campaign.wire.relay import (
    Act,
    Relay,
    content,
    encode,
    is_information,
    renumbered,
)

_SECURE = 0x04
_MAC = 8
_INITIALIZE_UPDATE = 0x50
_EXTERNAL_AUTHENTICATE = 0x82
_SESSION = 12  # commands that are replayed at most
_LEVELS = (0x00, 0x01, 0x03, 0x11, 0x13, 0x23, 0x30, 0x31, 0xFF)
_STATUS = (
    0x9000, 0x6984, 0x6985, 0x6982, 0x6A84, 0x6A88, 0x6988, 0x6300, 0x6983, 0x6F00, 0x6102, 0x6100,
    0x9001, 0x6D00,
)  # fmt: skip
_VERSION_ANSWER = bytes.fromhex("7903000000")


def _own(head: str, data: bytes = b"") -> bytes:
    return bytes.fromhex(head) + (bytes((len(data),)) + data if data else b"")


def _named(name: bytes) -> bytes:
    return b"\x71" + bytes((len(name),)) + name


_SERIAL = b"TS00000001"
_OF_ZEROS = b"\x88\x10" + bytes(16) + b"\x03\x66\xe9\x4b"
_SEED = b"\x73\x16\x11\x06" + b"1" * 20
# Commands of the relay's own: it has no keys.
OWN = (
    _own("00a40400", bytes.fromhex("a0000005272101")), _own("00a4040000"),  # SELECT
    _own("80500000", bytes(8)),  # INITIALIZE UPDATE
    _own("84823300", bytes(16)), _own("84820100", bytes(16)),  # EXTERNAL AUTHENTICATE
    _own("80cadf23"), _own("80cadf20"), _own("80cadf25"),
    _own("80f28000024f00"), _own("0084000010"),
    _own("80f080ff"), _own("80f0800f"), _own("80f08007"),  # SET STATUS
    _own("80d80081", b"\1" + 3 * _OF_ZEROS),  # PUT KEY
    _own("00010000", _named(_SERIAL) + _SEED),  # PUT
    _own("00020000", _named(_SERIAL)), _own("0004dead"),  # DELETE, RESET
    _own("00050000", _named(_SERIAL) + _named(b"mine")),  # RENAME
    _own("00a10000"), _own("00a40001", b"\x74\x08" + bytes(8)), _own("80ca00e0"),
    _own("00a20001", _named(_SERIAL) + b"\x74\0"),
    _own("80e60200", bytes(128)), _own("80e60c00"), _own("80e64000"), _own("80e80000", bytes(5)),
    _own("80ee0300"), _own("00c0000000"), _own("00a5000000"),
)  # fmt: skip


def _flipped(data: bytes, number: int) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[(number >> 3) % len(data)] ^= 1 << (number & 7)
    return bytes(changed)


def _pick(blocks: list[bytes], block: bytes, number: int) -> bytes:
    """The content of another block of the same kind, under this one's number."""
    fit = [one for one in blocks if is_information(one) == is_information(block)]
    if not fit:
        return block
    return encode(block[1], content(fit[-1 - number % len(fit)]))


# -- any block -----------------------------------------------------------------------------------


def drop(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return []


def twice(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [block] * (2 + number % 3)


def damage(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [_flipped(block, number)]


def edit(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """A bit of its content changes, and the checksum with it."""
    return [encode(block[1], _flipped(content(block), number))]


def cut(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    inf = content(block)
    return [encode(block[1], inf[: number % len(inf)])] if inf else [block]


def grow(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    more = content(block) + relay.rng.randbytes(1 + number % 17)
    return [encode(block[1], more[:254])]


def hold(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """It comes behind the next one."""
    relay.held[way].append(block)
    return []


def late(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """It comes when nobody waits for it any more."""
    if way == TO_CARD:
        relay.held[way].append(block)
    else:
        relay.late.append(block)
    return []


def earlier(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """One of this run comes again, under this one's number."""
    return [_pick(relay.transcript.of(way)[:-1], block, number)]


def older(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """One of another run, with this card or another, under this one's number."""
    return [_pick(relay.older.of(way), block, number)]


def other_number(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [renumbered(block, 1, 1)]


def other_kind(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [encode(number & 0xFF, content(block))]


def noise(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    made = relay.rng.randbytes(1 + number % 300)
    return [made + block] if number & 1 else [made, block]


# -- commands ------------------------------------------------------------------------------------


def downgrade(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """Another security level, or another key set, than the station asks for."""
    apdu = bytearray(content(block))
    if not is_information(block) or len(apdu) < 5:
        return [block]
    if apdu[1] == _EXTERNAL_AUTHENTICATE:
        apdu[2] = _LEVELS[number % len(_LEVELS)]
    elif apdu[1] == _INITIALIZE_UPDATE:
        apdu[2] = number & 0xFF
    else:
        return strip(relay, way, block, number)
    return [encode(block[1], bytes(apdu))]


def strip(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The command without its secure messaging."""
    apdu = content(block)
    if not is_information(block) or len(apdu) < 5 + _MAC or not apdu[0] & _SECURE:
        return [block]
    data = apdu[5:-_MAC] if number & 1 else apdu[5:]
    plain = bytes((apdu[0] & ~_SECURE,)) + apdu[1:4] + bytes((len(data),)) + data
    return [encode(block[1], plain)]


def header(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """Another instruction or parameter; the data stays."""
    apdu = bytearray(content(block))
    if not is_information(block) or len(apdu) < 4:
        return [block]
    apdu[1 + number % 3] = number >> 8
    return [encode(block[1], bytes(apdu))]


def insert(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """A command of the relay's own comes first: one of a stranger, or one that was heard."""
    heard = [content(one) for one in relay.transcript.of(TO_CARD) if is_information(one)]
    heard += [content(one) for one in relay.older.of(TO_CARD) if is_information(one)]
    choice = [one for one in heard if one] if number & 1 else OWN
    if choice:
        relay.exchange(choice[(number >> 1) % len(choice)])
    return [block]


def replay(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The commands of a whole session that was heard before, one after the other."""
    heard = [content(one) for one in relay.older.of(TO_CARD) if is_information(one)]
    begins = [at for at, one in enumerate(heard) if one[1:2] == bytes((_INITIALIZE_UPDATE,))]
    if begins:
        begin = begins[number % len(begins)]
        for one in heard[begin : begin + _SESSION]:
            if one and not relay.exchange(one):
                break
    return [block]


def answer(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The card does not get it, and the relay answers."""
    if not is_information(block):
        return [block]
    word = _STATUS[number % len(_STATUS)].to_bytes(2, "big")
    said = relay.rng.randbytes((number >> 6) % 40) if number & 0x20 else b""
    relay.answer_itself(said + word)
    return []


def end(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [encode(0xC2), block]


def resynchronise(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [encode(0xC0), block] if number & 1 else [block, encode(0xC0)]


def size(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [encode(0xC1, bytes((number % 256,))), block]


# -- answers -------------------------------------------------------------------------------------


def bare(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """Success, and nothing that proves it."""
    return [encode(block[1], b"\x90\0")] if is_information(block) else [block]


def status(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """Another status word, with the data or without."""
    if not is_information(block):
        return [block]
    word = _STATUS[number % len(_STATUS)].to_bytes(2, "big")
    return [encode(block[1], (content(block)[:-2] if number & 0x40 else b"") + word)]


def unproved(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The data without its R-MAC."""
    inf = content(block)
    if not is_information(block) or len(inf) < _MAC + 2:
        return [block]
    return [encode(block[1], inf[: -_MAC - 2] + inf[-2:])]


def invent(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """As long as the true answer, and of the relay's making."""
    if not is_information(block):
        return [block]
    made = relay.rng.randbytes(max(0, len(content(block)) - 2))
    return [encode(block[1], made + b"\x90\0")]


def field(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """One field of an answer to INITIALIZE UPDATE or SELECT is another."""
    inf = bytearray(content(block))
    if not is_information(block) or len(inf) < 10:
        return [block]
    if len(inf) == 31:
        at = (0, 9, 10, 11, 12, 13, 21)[number % 7]
        inf[at] ^= 1 + (number >> 8) % 255
    else:
        inf[: len(_VERSION_ANSWER)] = _VERSION_ANSWER
    return [encode(block[1], bytes(inf))]


def wait(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The station is made to wait, and its user to press."""
    return [encode(0xC3, bytes((number % 4,)))] * (1 + number % 3) + [block]


def waits(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    return [encode(0xC3, b"\1")] * 700


def smaller(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    """The station is to send short blocks from here on."""
    return [encode(0xC1, bytes((1 + number % 254,))), block]


# -- the line ------------------------------------------------------------------------------------


def silence(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    relay.silent = True
    return []


def switch(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    relay.switch()
    return [block]


def replug(relay: Relay, way: str, block: bytes, number: int) -> list[bytes]:
    relay.replug()
    return [block]


_ANY = {
    "drop": drop, "twice": twice, "damage": damage, "edit": edit, "cut": cut, "grow": grow,
    "hold": hold, "late": late, "earlier": earlier, "older": older, "number": other_number,
    "kind": other_kind, "noise": noise, "end": end, "resynchronise": resynchronise,
    "silence": silence, "switch": switch, "replug": replug,
}  # fmt: skip
_COMMANDS = {
    "downgrade": downgrade, "strip": strip, "header": header, "insert": insert, "answer": answer,
    "replay": replay, "size": size,
}  # fmt: skip
_ANSWERS = {
    "bare": bare, "status": status, "unproved": unproved, "invent": invent, "field": field,
    "wait": wait, "waits": waits, "smaller": smaller,
}  # fmt: skip
ACTS: dict[str, Act] = {**_ANY, **_COMMANDS, **_ANSWERS}
TO_CARD_ACTS = tuple(_ANY | _COMMANDS)
TO_STATION_ACTS = tuple(_ANY | _ANSWERS)
