"""Blocks that an RP2350's boot ROM reads out of an image (RP2350 data sheet, 5.9), and the block
that signs one (5.9.5, 5.10).

A block: start marker, items, LAST item with the words of all items, offset of the next block in
bytes, end marker. All blocks of an image are a loop. An item's header: type (bit 7: its size has
two bytes) ‖ size in words ‖ what the type says.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from tallystick.common.errors import BadInputError
from tallystick.tools.lock.boot_key import BootKey, is_signed

START, END = 0xFFFFDED3, 0xAB123579
IMAGE_TYPE, VECTOR_TABLE, ENTRY_POINT = 0x42, 0x03, 0x44
LOAD_MAP, HASH_DEF, SIGNATURE, HASH_VALUE = 0x06, 0x47, 0x09, 0x4B
LAST = 0xFF
_TWO_BYTES = 0x80
_SHA256, _SECP256K1 = 1, 1
_EXE, _RP2350, _SECURE, _EXTRA_SECURITY = 0x1, 0x1000, 0x0020, 0x0800
_CPU, _ARM = 0x0700, 0x0000
_FIRST_KIB = 4096  # the boot ROM looks for the first block in so many bytes
_MOST_WORDS = 0x180 // 4


@dataclass(frozen=True)
class PicobinItem:
    """`words`: of the whole item, its header first."""

    words: tuple[int, ...]

    @property
    def kind(self) -> int:
        return self.words[0] & 0xFF


@dataclass(frozen=True)
class PicobinBlock:
    """`at`: offset in the image. `next`: of the next block, in bytes, counted from this one."""

    at: int
    items: tuple[PicobinItem, ...]
    next: int

    def item(self, kind: int) -> PicobinItem | None:
        return next((one for one in self.items if one.kind == kind), None)

    def encode(self) -> bytes:
        words = [START, *(word for item in self.items for word in item.words)]
        words += [LAST | (len(words) - 1) << 8, self.next & 0xFFFFFFFF, END]
        return _bytes(words)


def blocks(image: bytes) -> list[PicobinBlock]:
    """The block loop of an image, the first block first. Raises BadInputError when it has none, or
    one that is broken: the chip would not start it."""
    first = _first(image)
    found = [first]
    while found[-1].next and found[-1].at + found[-1].next != first.at:
        following = _parse(image, found[-1].at + found[-1].next)
        if following is None or following.at in [block.at for block in found]:
            raise BadInputError(
                "The image's block loop is broken.", todo="Take the board's MicroPython as built."
            )
        found.append(following)
    return found


def sign(image: bytes, address: int, key: BootKey) -> bytes:
    """The image with one block more, which signs all of it. address: where the chip sees its first
    byte. Raises BadInputError for an image that no RP2350 starts."""
    if len(image) % 4:
        raise BadInputError("A boot image is a whole number of words.")
    loop = blocks(image)
    kept = [item for item in _definition(loop).items if item.kind not in (HASH_DEF, SIGNATURE)]
    kept = [item for item in kept if item.kind not in (HASH_VALUE, LOAD_MAP)]
    items = [_securely_typed(item) for item in kept]
    table = next((item.words[1] for item in items if item.kind == VECTOR_TABLE), None)
    if not any(item.kind == ENTRY_POINT for item in items):
        if table is None:
            table = address
            items.append(PicobinItem((VECTOR_TABLE | 2 << 8, table)))
        stack, entry = struct.unpack_from("<II", image, table - address)
        items.append(PicobinItem((ENTRY_POINT | 3 << 8, entry, stack)))
    at = len(image)
    linked = bytearray(image)
    struct.pack_into("<i", linked, _next_at(loop[-1]), at - loop[-1].at)
    # Where the load map's own header lies: its storage addresses are counted from there.
    here = at + 4 * (1 + sum(len(item.words) for item in items))
    items.append(
        PicobinItem((LOAD_MAP | 4 << 8 | 1 << 24, -here & 0xFFFFFFFF, address, len(linked)))
    )
    hashed = 1 + sum(len(item.words) for item in items) + 2
    items.append(PicobinItem((HASH_DEF | 2 << 8 | _SHA256 << 24, hashed)))
    unsigned = PicobinBlock(at, tuple(items), loop[0].at - at)
    digest = hashlib.sha256(bytes(linked) + unsigned.encode()[: 4 * hashed]).digest()
    signature = key.public + key.sign(digest)
    items.append(
        PicobinItem((SIGNATURE | 0x21 << 8 | _SECP256K1 << 24, *struct.unpack("<32I", signature)))
    )
    return bytes(linked) + PicobinBlock(at, tuple(items), unsigned.next).encode()


def signer(image: bytes) -> bytes | None:
    """The public key, 64 bytes, whose signature over the whole image is right; None where none is.
    Raises BadInputError as `blocks`."""
    last = blocks(image)[-1]
    definition, signed = last.item(HASH_DEF), last.item(SIGNATURE)
    load = last.item(LOAD_MAP)
    if definition is None or signed is None or load is None:
        return None
    body = last.encode()[: 4 * definition.words[1]]
    digest = hashlib.sha256(image[: load.words[3]] + body).digest()
    content = _bytes(signed.words[1:])
    if load.words[3] != last.at or not is_signed(content[:64], digest, content[64:]):
        return None
    return content[:64]


def _first(image: bytes) -> PicobinBlock:
    for at in range(0, min(len(image), _FIRST_KIB) - 3, 4):
        if image[at : at + 4] == _bytes([START]):
            block = _parse(image, at)
            if block is not None:
                return block
    raise BadInputError(
        "The image has no block that an RP2350 would start.",
        kept="Nothing was signed.",
        todo="Take the MicroPython made for a Pico 2.",
    )


def _parse(image: bytes, at: int) -> PicobinBlock | None:
    """The block at an offset, or None."""
    if at < 0 or at % 4 or image[at : at + 4] != _bytes([START]):
        return None
    end = min(len(image), at + 4 * (_MOST_WORDS + 3)) // 4 * 4
    words = struct.unpack(f"<{(end - at) // 4}I", image[at:end])
    items: list[PicobinItem] = []
    number = 1
    while number + 2 < len(words):
        head = words[number]
        size = (head >> 8) & (0xFFFF if head & _TWO_BYTES else 0xFF)
        if head & 0xFF == LAST:
            if size != number - 1 or words[number + 2] != END:
                return None
            (following,) = struct.unpack("<i", _bytes([words[number + 1]]))
            return PicobinBlock(at, tuple(items), following)
        if not size:
            return None
        items.append(PicobinItem(words[number : number + size]))
        number += size
    return None


def _definition(loop: list[PicobinBlock]) -> PicobinBlock:
    for block in (loop[-1], loop[0]):
        item = block.item(IMAGE_TYPE)
        if item is not None:
            flags = item.words[0] >> 16
            if flags & 0xF == _EXE and flags & 0x7000 == _RP2350 and flags & _CPU == _ARM:
                return block
    raise BadInputError(
        "The image is no program for the Arm cores of an RP2350.",
        kept="Nothing was signed.",
        todo="Take the MicroPython made for a Pico 2 (Arm, not RISC-V).",
    )


def _securely_typed(item: PicobinItem) -> PicobinItem:
    if item.kind != IMAGE_TYPE:
        return item
    return PicobinItem((item.words[0] | _EXTRA_SECURITY << 16,))


def _next_at(block: PicobinBlock) -> int:
    """Where in the image a block says where the next one is."""
    return block.at + 4 * (1 + sum(len(item.words) for item in block.items) + 1)


def _bytes(words: list[int] | tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)
