"""lib/records.py on a few sectors of a few pages, visited until no new state appears.

A page is a symbol, and its bytes are made of it when the records are read:

    Blank        as erased
    KeptRecord   a whole record of one page
    VOID         whatever is neither: all kinds of it are one to lib/records.py
    Wavering     one of several of these, another at every power-up

A program that is cut leaves a page that reads as before, as whole or as neither, anew at each
start; an erase that is cut leaves every page of its sector as before, blank or neither. Sequence
numbers are told by their differences, values by whether they hold, are in hand, or are older.
docs/findings/powercuts.md has the assumptions.
"""

from __future__ import annotations

import hashlib
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tallystick.tools.campaign.proof.journal import BLANK, HOLDS, IN_HAND, OLD, Blank
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.search import BrokenError, Choices

PAGE = 256
_HEAD, _PAYLOAD, _CHECK = 14, 4, 8
_DELETED = 0x8000
_NO_KEY = 0xFFFF
_ENDLESS = 300  # changes of flash in one run
_ABSENT = 0  # in place of a value


@dataclass(frozen=True, order=True)
class KeptRecord:
    """value: one of the three, or 0: the key has none any more."""

    sequence: int
    floor: int
    key: int
    value: int


@dataclass(frozen=True, order=True)
class Void:
    pass


PageRead = KeptRecord | Void | Blank
VOID = Void()


@dataclass(frozen=True)
class WaveringPage:
    """How it may read at a power-up."""

    reads: frozenset[PageRead]

    def __repr__(self) -> str:
        return f"WaveringPage({', '.join(sorted(map(repr, self.reads)))})"


Page = PageRead | WaveringPage


def _reads(page: Page) -> frozenset[PageRead]:
    return page.reads if isinstance(page, WaveringPage) else frozenset({page})


def _wavers(reads: Iterable[PageRead]) -> Page:
    found = frozenset(reads)
    return WaveringPage(found) if len(found) > 1 else next(iter(found))


@cache
def page_content(read: PageRead) -> bytes:
    """The bytes of a page that reads so."""
    if isinstance(read, Blank):
        return b"\xff" * PAGE
    if isinstance(read, Void):
        return bytes(PAGE)
    size = _PAYLOAD if read.value else _DELETED
    body = read.sequence.to_bytes(4, "little") + read.floor.to_bytes(4, "little")
    body += read.key.to_bytes(2, "little") + size.to_bytes(2, "little") * 2
    body += bytes([read.value]) * _PAYLOAD if read.value else b""
    record = body + crc32(body).to_bytes(4, "little") + hashlib.sha256(body).digest()[:4]
    return record.ljust(PAGE, b"\xff")


def _of(data: bytes) -> PageRead:
    """The symbol of what is programmed. Raises BrokenError for what this world has not."""
    if not any(data):
        return VOID
    number = [int.from_bytes(data[at : at + 4], "little") for at in (0, 4)]
    key, size = (int.from_bytes(data[at : at + 2], "little") for at in (8, 10))
    found = KeptRecord(number[0], number[1], key, 0 if size & _DELETED else data[_HEAD])
    if page_content(found) != bytes(data):
        raise BrokenError(f"a record of another kind is written: {data[:32].hex()}")
    return found


@dataclass(frozen=True)
class RecordsState:
    """Flash without power. pages: of all sectors in order. may: what the keys may read as, all of
    them at once. new: nothing but a first record has been written, and it may be begun anew."""

    pages: tuple[Page, ...]
    may: frozenset[tuple[int, ...]]
    new: bool = False


class _FewPages:
    """What the records are given."""

    def __init__(self, world: RecordsWorld, state: RecordsState, choices: Choices) -> None:
        self.SECTORS = world.sectors
        self.SECTOR = world.slots * PAGE
        self.pages = list(state.pages)
        self._choices = choices
        self._now: dict[int, PageRead] = {}
        self._changes = 0
        self.on_cut: Callable[[str, list[Page]], None] = lambda _what, _pages: None

    def _read(self, number: int) -> PageRead:
        page = self.pages[number]
        if not isinstance(page, WaveringPage):
            return page
        if number not in self._now:
            options = sorted(page.reads, key=repr)
            self._now[number] = self._choices.one(f"page {number} reads", options)
        return self._now[number]

    def read(self, address: int, buffer: bytearray) -> None:
        for at in range(0, len(buffer), PAGE):
            buffer[at : at + PAGE] = page_content(self._read((address + at) // PAGE))

    def program(self, address: int, data: bytearray) -> None:
        number = address // PAGE
        if len(data) != PAGE:
            raise BrokenError("more than a page is programmed at once")
        written, before = _of(bytes(data)), self._read(number)
        self._cut(
            f"program {number}", {number: _wavers(_reads(self.pages[number]) | {written, VOID})}
        )
        if written == VOID:
            self.pages[number] = VOID
        elif before != BLANK:
            self.pages[number] = VOID  # both are there: neither is
        elif isinstance(self.pages[number], WaveringPage):
            # What was weak and is not programmed now stays weak.
            self.pages[number] = _wavers({written, VOID})
            self._now[number] = written
        else:
            self.pages[number] = written

    def erase(self, sector: int) -> None:
        count = self.SECTOR // PAGE
        numbers = range(sector * count, (sector + 1) * count)
        self._cut(
            f"erase {sector}",
            {
                number: _wavers(_reads(self.pages[number]) | {BLANK, VOID})
                for number in numbers
                if self.pages[number] != BLANK
            },
        )
        for number in numbers:
            self.pages[number] = BLANK
            self._now.pop(number, None)

    def know(self, value: Callable[[KeptRecord], int]) -> None:
        """Values are other ones from now on."""

        def known(read: PageRead) -> PageRead:
            if not isinstance(read, KeptRecord) or not read.value:
                return read
            return replace(read, value=value(read))

        self.pages = list(_every(self.pages, known))
        self._now = {number: known(read) for number, read in self._now.items()}

    def _cut(self, what: str, torn: dict[int, Page]) -> None:
        self._changes += 1
        if self._changes > _ENDLESS:
            raise BrokenError("it writes and writes")
        after = list(self.pages)
        for number, page in torn.items():
            after[number] = page
        self.on_cut(f"{what} is cut", after)


class _NoRoomError(Exception):
    """Every sector is in use."""


class RecordsWorld:
    """`library`: of the firmware under test. slots: pages of a sector. keys: how many are used; the
    first always has a value. reserve: sectors that are kept free, in place of the firmware's 8.
    restarts: all keys lose their values at once, too."""

    def __init__(
        self,
        library: Library,
        *,
        sectors: int = 4,
        slots: int = 3,
        keys: int = 1,
        reserve: int = 2,
        restarts: bool = False,
        fills: bool = True,
        new: bool = False,
    ) -> None:
        self._module = library["records"]
        self._module._RESERVE = reserve
        self.sectors, self.slots, self._keys = sectors, slots, keys
        self._restarts, self._fills, self._new = restarts, fills, new
        self.full: set[RecordsState] = set()  # out of which no sector was left to write to

    def starts(self) -> Iterator[RecordsState]:
        """Of a reader that is in service; new: also one from the factory."""
        pages: list[Page] = [BLANK] * (self.sectors * self.slots)
        if self._new:
            nothing = frozenset({(_ABSENT,) * self._keys})
            yield RecordsState(tuple(pages), nothing, new=True)
            return
        pages[0] = KeptRecord(2, 0, 0, HOLDS)
        held = (HOLDS, *(_ABSENT,) * (self._keys - 1))
        yield RecordsState(tuple(pages), frozenset({held}))

    def run(self, state: RecordsState, choices: Choices) -> Iterator[tuple[str, RecordsState]]:
        """From a power-up on: what the reader's store does with it."""
        left: list[tuple[str, RecordsState]] = []
        try:
            yield from self._life(state, choices, left)
        except _NoRoomError:
            if not self._fills:
                raise BrokenError("no page takes a record") from None
            self.full.add(state)
            yield from left

    def _life(
        self, state: RecordsState, choices: Choices, left: list[tuple[str, RecordsState]]
    ) -> Iterator[tuple[str, RecordsState]]:
        flash = _FewPages(self, state, choices)
        now = state

        def cut(what: str, pages: list[Page]) -> None:
            left.append(("; ".join((*choices.told, what)), replace(now, pages=tuple(pages))))

        flash.on_cut = cut
        records = self._module.Records(flash)
        if self._is_first(records, state):
            records = self._module.Records(flash)
            # Nothing of what was there was told. Until this is done any of it may be back.
            flash.know(lambda record: OLD if record.value == OLD else HOLDS)
            there = {tuple(HOLDS if one else _ABSENT for one in values) for values in state.may}
            first = (IN_HAND, *(_ABSENT,) * (self._keys - 1))
            now = replace(now, may=frozenset({*there, (_ABSENT,) * self._keys, first}))
            self._change(records.put, 0, _payload(IN_HAND))
            seen = first
        else:
            seen = self._seen(records)
            if seen not in state.may:
                raise BrokenError(f"{seen} is read; it may be {sorted(state.may)}")
            self._change(records.settle)
            if self._seen(records) != seen:
                raise BrokenError("what was read is another once it was settled")
            now = replace(now, new=False)
        now = replace(now, may=frozenset({_told(flash, seen)}))
        yield from left
        left.clear()
        yield self._left(choices, flash, now)
        before = next(iter(now.may))
        way, after = self._chosen(before, choices)
        now = replace(now, may=frozenset({before, after}))
        self._do(records, flash, way)
        if self._seen(records) != after:
            raise BrokenError(f"{self._seen(records)} is read after {way}, in place of {after}")
        now = replace(now, may=frozenset({_told(flash, after)}), new=False)
        yield from left
        yield self._left(choices, flash, now)

    def told_by(self, state: RecordsState) -> Iterator[RecordsState]:
        """As few as tell states apart."""
        if not state.new:
            state = _turned(_renumbered(_settled(_outdated(state), self.slots)), self.slots)
        yield state

    def wider(self, state: RecordsState) -> Iterator[RecordsState]:
        """States out of which all can come that can come out of this one."""
        for number, page in enumerate(state.pages):
            for more in (VOID, BLANK) if page != BLANK else (VOID,):
                if more in _reads(page):
                    continue
                pages = list(state.pages)
                pages[number] = _wavers(_reads(page) | {more})
                yield replace(state, pages=tuple(pages))

    def _left(
        self, choices: Choices, flash: _FewPages, now: RecordsState
    ) -> tuple[str, RecordsState]:
        told = "; ".join((*choices.told, "power goes"))
        return told, replace(now, pages=tuple(flash.pages))

    def _is_first(self, records: Any, state: RecordsState) -> bool:
        try:
            first = not records.load() or records.at_first()
        except self._module.DamagedError:
            raise BrokenError("nothing can be read any more") from None
        if first and not state.new:
            raise BrokenError("taken for records from the factory")
        return bool(first)

    def _seen(self, records: Any) -> tuple[int, ...]:
        try:
            values = [records.get(key) for key in range(self._keys)]
        except OSError:
            raise BrokenError("a value can no longer be read") from None
        return tuple(value[0] if value else _ABSENT for value in values)

    def _chosen(self, before: tuple[int, ...], choices: Choices) -> tuple[str, tuple[int, ...]]:
        """What is changed now, and what is read after it."""
        ways = {f"puts {key}": _with(before, key, IN_HAND) for key in range(self._keys)}
        ways |= {
            f"deletes {key}": _with(before, key, _ABSENT)
            for key in range(1, self._keys)
            if before[key]
        }
        if self._restarts:
            ways["restarts"] = (IN_HAND, *(_ABSENT,) * (self._keys - 1))
        way = choices.one("then it", list(ways))
        return way, ways[way]

    def _do(self, records: Any, flash: _FewPages, way: str) -> None:
        verb, _, key = way.partition(" ")
        if verb == "puts":
            self._change(records.put, int(key), _payload(IN_HAND))
        elif verb == "deletes":
            self._change(records.delete, int(key))
        else:
            self._change(records.restart, 0, _payload(IN_HAND))
            self._change(records.scrub)
            for page in flash.pages:
                for one in _reads(page):
                    if isinstance(one, KeptRecord) and one.value not in (_ABSENT, IN_HAND):
                        raise BrokenError("what was given up is still in flash")

    def _change(self, change: Callable[..., None], *arguments: Any) -> None:
        try:
            change(*arguments)
        except OSError:
            raise _NoRoomError from None


def _payload(value: int) -> bytes:
    return bytes([value]) * _PAYLOAD


def _with(values: tuple[int, ...], key: int, value: int) -> tuple[int, ...]:
    return (*values[:key], value, *values[key + 1 :])


def _told(flash: _FewPages, seen: tuple[int, ...]) -> tuple[int, ...]:
    """From now on these values hold; every other is old."""
    flash.know(
        lambda record: HOLDS if record.key < len(seen) and record.value == seen[record.key] else OLD
    )
    return tuple(HOLDS if value else _ABSENT for value in seen)


def _outdated(state: RecordsState) -> RecordsState:
    """What is below the floor of a record that is there whenever it is read counts for nothing.
    Of what is older than such a record of its key only the age counts."""
    solid = [one for one in state.pages if isinstance(one, KeptRecord)]
    if not solid:
        return state
    newest = max(solid)
    last = {one.key: one.sequence for one in sorted(solid)}

    def less(read: PageRead) -> PageRead:
        if not isinstance(read, KeptRecord):
            return read
        if read.sequence < newest.floor:
            return VOID
        dead = read.sequence < newest.sequence and (
            read.key == _NO_KEY or read.sequence < last.get(read.key, 0)
        )
        return KeptRecord(read.sequence, 0, _NO_KEY, _ABSENT) if dead else read

    return replace(state, pages=_every(state.pages, less))


def _settled(state: RecordsState, slots: int) -> RecordsState:
    """A sector without records is erased before it is used, and no other is looked at for blank
    pages than behind what is in it."""
    pages = list(state.pages)
    for begin in range(0, len(pages), slots):
        written = not any(
            isinstance(one, KeptRecord) for page in pages[begin : begin + slots]
            for one in _reads(page)
        )  # fmt: skip
        for number in range(begin + slots - 1, begin - 1, -1):
            reads = _reads(pages[number])
            if written and not any(isinstance(one, KeptRecord) for one in reads):
                pages[number] = VOID
            written = written or BLANK not in reads
    return replace(state, pages=tuple(pages))


def _turned(state: RecordsState, slots: int) -> RecordsState:
    """The sectors are a ring: it is told by where its oldest record is."""
    count = len(state.pages)

    def oldest(begin: int) -> tuple[int, str]:
        found = [
            one.sequence for page in state.pages[begin : begin + slots] for one in _reads(page)
            if isinstance(one, KeptRecord)
        ]  # fmt: skip
        return min(found, default=1 << 40), repr(state.pages[begin:] + state.pages[:begin])

    first = min(range(0, count, slots), key=oldest)
    return replace(state, pages=state.pages[first:] + state.pages[:first])


def _renumbered(state: RecordsState) -> RecordsState:
    """Sequence numbers in their order, from 2: none is the first of all any more."""
    numbers = sorted(
        {one.sequence for page in state.pages for one in _reads(page)
         if isinstance(one, KeptRecord)}
    )  # fmt: skip

    def rank(number: int) -> int:
        return 2 + bisect_left(numbers, number)

    def ranked(read: PageRead) -> PageRead:
        if not isinstance(read, KeptRecord):
            return read
        floor = rank(read.floor) if read.floor > numbers[0] else 0
        return replace(read, sequence=rank(read.sequence), floor=floor)

    return replace(state, pages=_every(state.pages, ranked))


def _every(pages: Iterable[Page], change: Callable[[PageRead], PageRead]) -> tuple[Page, ...]:
    return tuple(_wavers(map(change, _reads(page))) for page in pages)
