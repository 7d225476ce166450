"""lib/records.py on a few sectors of a few pages, visited until no new state appears.

A page is a cell (proof/cells.py), and its bytes are made of how it reads:

    Blank        as erased
    KeptRecord   a whole record of one page
    VOID         whatever is neither: all kinds of it are one to lib/records.py

A program that is cut leaves a page that reads as before, as whole or as neither, anew at each
start; an erase that is cut leaves every page of its sector as before, blank or neither. Values are
told by whether they hold, are in hand, or are older. docs/findings/powercuts.md says what is
assumed.
"""

from __future__ import annotations

import hashlib
from binascii import crc32
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from tallystick.tools.campaign.proof.cells import Symbols
from tallystick.tools.campaign.proof.journal import BLANK, HOLDS, IN_HAND, OLD, Blank
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.lives import Ask, Lives
from tallystick.tools.campaign.proof.numbers import ANCHOR, apart, down_to, nearer
from tallystick.tools.campaign.proof.powered import PoweredLife, PoweredWorld, Told
from tallystick.tools.campaign.proof.search import BrokenError

PAGE = 256
_HEAD, _PAYLOAD, _CHECK = 14, 4, 8
_DELETED = 0x8000
_NO_KEY = 0xFFFF
_ENDLESS = 300  # changes of flash in one run
_ABSENT = 0  # in place of a value
_MAY = (1 << 64) - 1

Values = tuple[int, ...]  # of all keys


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


class RecordsState(NamedTuple):
    """Flash without power. pages: of all sectors in order, as numbers (proof/cells.py). may: what
    the keys may read as, all of them at once, as a set of the world's `values`. new: nothing but a
    first record has been written, and it may be begun anew. torn: operations, since a start came to
    its end."""

    pages: tuple[int, ...]
    may: int
    new: bool = False
    torn: int = 0


class _RecordsLife(PoweredLife):
    """Records with power."""

    __slots__ = ("may", "new", "start", "torn")
    FIELDS = (*PoweredLife.FIELDS, *__slots__)

    def __init__(self, state: RecordsState) -> None:
        super().__init__(state.pages)
        self.start = state
        self.may, self.new, self.torn = state[1:]


class _FewPages:
    """What the records are given: it asks for everything."""

    def __init__(self, world: RecordsWorld, ask: Ask) -> None:
        self.SECTORS = world.sectors
        self.SECTOR = world.slots * PAGE
        self._symbols, self._ask = world.symbols, ask

    def read(self, address: int, buffer: bytearray) -> None:
        for at in range(0, len(buffer), PAGE):
            read = self._ask(("read", (address + at) // PAGE))
            buffer[at : at + PAGE] = page_content(self._symbols[read])

    def program(self, address: int, data: bytearray) -> None:
        if len(data) != PAGE:
            self._ask(("broken", "more than a page is programmed at once"))
        number = address // PAGE
        self._ask(("read", number))
        written = _of(bytes(data))
        if isinstance(written, KeptRecord):
            self._ask(("number", written.sequence))
        self._ask(("program", number, self._symbols.number(written)))

    def erase(self, sector: int) -> None:
        self._ask(("erase", sector))


class _NoRoomError(Exception):
    """Every sector is in use."""


class RecordsWorld(PoweredWorld[PageRead, _RecordsLife]):
    """`library`: of the firmware under test. slots: pages of a sector. keys: how many are used; the
    first always has a value. reserve: sectors that are kept free, in place of the firmware's 8.
    torn: so many operations at most are torn before a start comes to its end; None: any number.
    restarts: all keys lose their values at once, too. fills: a ring without room is no violation.
    cuts: without, the power goes at rest only.
    exact: states that cannot be told apart by lib/records.py as it is are not taken for one."""

    CELL, ENDLESS = "page", _ENDLESS

    def __init__(
        self,
        library: Library,
        *,
        sectors: int = 4,
        slots: int = 3,
        keys: int = 1,
        reserve: int = 2,
        torn: int | None = None,
        restarts: bool = False,
        fills: bool = True,
        cuts: bool = True,
        new: bool = False,
        exact: bool = False,
    ) -> None:
        self._module = library["records"]
        self._module._RESERVE = reserve
        self.sectors, self.slots, self._keys, self._torn = sectors, slots, keys, torn
        self._restarts, self._fills, self._new, self._exact = restarts, fills, new, exact
        self._cuts = cuts
        self.symbols: Symbols[PageRead] = Symbols()
        self.values: Symbols[Values] = Symbols()
        self._blank, self._void = self.symbols.cell([BLANK]), self.symbols.cell([VOID])
        self._facts: dict[int, _Facts] = {}
        self._out: list[tuple[Told, RecordsState]] = []
        self.lives = Lives(self._script, self._step, _RecordsLife.copy)
        self.full: set[RecordsState] = set()  # out of which no sector was left to write to

    def starts(self) -> Iterator[RecordsState]:
        """Of a reader that is in service, or (new) as from the factory."""
        pages = [self._blank] * (self.sectors * self.slots)
        values = (_ABSENT,) * self._keys
        if not self._new:
            for key in range(self._keys):
                pages[key] = self.symbols.cell([KeptRecord(ANCHOR + key, 0, key, HOLDS)])
            values = (HOLDS,) * self._keys
        yield RecordsState(tuple(pages), self.values.cell([values]), new=self._new)

    def run(self, state: RecordsState) -> Iterator[tuple[Told, RecordsState]]:
        """From a power-up on: what the reader's store does with it."""
        self._out = []
        self.lives.walk(_RecordsLife(state))
        yield from self._out

    def sets(self, state: RecordsState) -> tuple[Hashable, tuple[int, ...]]:
        """What may be less is sooner wrong; where less was torn, more may be."""
        return state.new, (_MAY & ~state.may, (1 << 64) - (1 << state.torn), *state.pages)

    def shown(self, state: RecordsState) -> str:
        pages = ", ".join(map(self.symbols.shown, state.pages))
        return f"{pages}; {self.values.shown(state.may)}; {state[2:]}"

    # -- what is run -----------------------------------------------------------------------------

    def _script(self, ask: Ask) -> None:
        flash = _FewPages(self, ask)
        try:
            self._life(flash, ask)
        except _NoRoomError:
            ask(("full",))

    def _life(self, flash: _FewPages, ask: Ask) -> None:
        records = self._module.Records(flash)
        try:
            first = not records.load() or records.at_first()
        except self._module.DamagedError:
            ask(("broken", "nothing can be read any more"))
        ask(("loaded", first))
        if first:
            records = self._module.Records(flash)
            seen: Values = (IN_HAND, *(_ABSENT,) * (self._keys - 1))
            ask(("begins", seen))
            self._with_room(records.put, 0, _payload(IN_HAND))
        else:
            seen = self._seen(records, ask)
            ask(("seen", seen))
            self._with_room(records.settle)
            if self._seen(records, ask) != seen:
                ask(("broken", "what was read is another once it was settled"))
        ask(("settled", seen, first))  # with nothing but a first record it may begin anew again
        way, after = ask(("work", tuple(HOLDS if value else _ABSENT for value in seen)))
        self._do(records, ask, way)
        last = self._seen(records, ask)
        if last != after:
            ask(("broken", f"{last} is read after {way}, in place of {after}"))
        ask(("done", after, False))

    def _seen(self, records: Any, ask: Ask) -> Values:
        try:
            values = [records.get(key) for key in range(self._keys)]
        except OSError:
            ask(("broken", "a value can no longer be read"))
        return tuple(value[0] if value else _ABSENT for value in values)

    def _do(self, records: Any, ask: Ask, way: str) -> None:
        verb, _, key = way.partition(" ")
        if verb == "puts":
            self._with_room(records.put, int(key), _payload(IN_HAND))
        elif verb == "deletes":
            self._with_room(records.delete, int(key))
        else:
            self._with_room(records.restart, 0, _payload(IN_HAND))
            self._with_room(records.scrub)
            ask(("scrubbed",))

    def _with_room(self, change: Callable[..., None], *arguments: Any) -> None:
        try:
            change(*arguments)
        except OSError:
            raise _NoRoomError from None

    # -- what may come of it ---------------------------------------------------------------------

    def _on_loaded(self, life: _RecordsLife, first: bool) -> None:
        if first and not life.new:
            raise self._broken(life, "taken for records from the factory")

    def _on_seen(self, life: _RecordsLife, seen: Values) -> None:
        if not life.may >> self.values.number(seen) & 1:
            raise self._broken(life, f"{seen} is read; it may be {self.values.shown(life.may)}")

    def _on_settled(self, life: _RecordsLife, seen: Values, new: bool) -> None:
        self._know(life, seen)
        life.new, life.torn = new, 0
        self._leave(life, "power goes")

    _on_done = _on_settled

    def _on_full(self, life: _RecordsLife) -> None:
        if not self._fills:
            raise self._broken(life, "no page takes a record")
        self.full.add(life.start)

    def _on_program(self, life: _RecordsLife, number: int, written: int) -> None:
        page = life.cells[number]
        self._cut(life, f"program {number}", {number: page | 1 << written | self._void})
        if 1 << written == self._void:
            life.cells[number] = self._void
        elif 1 << life.now[number] != self._blank:
            life.cells[number] = self._void  # both are there: neither is
        elif page != self._blank:
            # What was weak and is not programmed now stays weak.
            life.cells[number] = 1 << written | self._void
            life.now[number] = written
            return
        else:
            life.cells[number] = 1 << written
        life.now[number] = life.cells[number].bit_length() - 1

    def _on_erase(self, life: _RecordsLife, sector: int) -> None:
        numbers = range(sector * self.slots, (sector + 1) * self.slots)
        torn = {
            number: life.cells[number] | self._blank | self._void
            for number in numbers
            if life.cells[number] != self._blank
        }
        self._cut(life, f"erase {sector}", torn)
        for number in numbers:
            life.cells[number], life.now[number] = self._blank, -1

    def _cut(self, life: _RecordsLife, what: str, torn: dict[int, int]) -> None:
        self._change(life, what)
        if not self._cuts:
            return
        if self._torn is not None and life.torn >= self._torn:
            self._leave(life, f"{what} is cut before")
            return
        pages = life.cells
        life.cells = [torn.get(number, page) for number, page in enumerate(pages)]
        life.torn += 1
        self._leave(life, f"{what} is cut")
        life.cells = pages
        life.torn -= 1

    def _on_begins(self, life: _RecordsLife, first: Values) -> None:
        """Nothing of what was there was told. Until this is done any of it may be back."""
        self._rename(life, "begins", lambda record: OLD if record.value == OLD else HOLDS)
        there = [
            tuple(HOLDS if one else _ABSENT for one in values)
            for values in self.values.reads(life.may)
        ]
        life.may = self.values.cell([*there, (_ABSENT,) * self._keys, first])

    def _on_work(self, life: _RecordsLife, before: Values) -> list[tuple[Hashable, _RecordsLife]]:
        """What is changed now, and what is read after it."""
        ways = {f"puts {key}": _with(before, key, IN_HAND) for key in range(self._keys)}
        ways |= {
            f"deletes {key}": _with(before, key, _ABSENT)
            for key in range(1, self._keys)
            if before[key]
        }
        if self._restarts:
            ways["restarts"] = (IN_HAND, *(_ABSENT,) * (self._keys - 1))
        found: list[tuple[Hashable, _RecordsLife]] = []
        for way, after in ways.items():
            other = life.answered(f"then it {way}")
            other.may = self.values.cell([before, after])
            found.append(((way, after), other))
        return found

    def _on_scrubbed(self, life: _RecordsLife) -> None:
        for page in life.cells:
            for one in self.symbols.reads(page):
                if isinstance(one, KeptRecord) and one.value not in (_ABSENT, IN_HAND):
                    raise self._broken(life, "what was given up is still in flash")

    def _know(self, life: _RecordsLife, seen: Values) -> None:
        """From now on these values hold; every other is old."""

        def known(record: KeptRecord) -> int:
            holds = record.key < len(seen) and record.value == seen[record.key]
            return HOLDS if holds else OLD

        self._rename(life, seen, known)
        life.may = self.values.cell([tuple(HOLDS if value else _ABSENT for value in seen)])

    def _rename(
        self, life: _RecordsLife, name: Hashable, value: Callable[[KeptRecord], int]
    ) -> None:
        def known(read: PageRead) -> PageRead:
            if not isinstance(read, KeptRecord) or not read.value:
                return read
            return replace(read, value=value(read))

        self._changed(life, name, known)

    def _on_number(self, life: _RecordsLife, sequence: int) -> list[tuple[Hashable, _RecordsLife]]:
        """The next number may be one that is there, see proof/numbers.py."""
        off = apart(sequence, (n for page in life.cells for n in self._fact(page).sequences))
        if not off:
            return [(None, life)]

        def lower(read: PageRead) -> PageRead:
            if not isinstance(read, KeptRecord):
                return read
            return replace(
                read,
                sequence=down_to(read.sequence, sequence, off),
                floor=down_to(read.floor, sequence, off),
            )

        other = life.answered(f"number {sequence} was there before")
        self._changed(other, (sequence, off), lower)
        return [(None, life), (None, other)]

    # -- what is left ----------------------------------------------------------------------------

    def _leave(self, life: _RecordsLife, how: str) -> None:
        pages = tuple(life.cells)
        if not life.new:
            pages = self._told_apart(pages)
        torn = min(life.torn, self._torn) if self._torn is not None else 0
        state = RecordsState(pages, life.may, life.new, torn)
        told = f"{life.changes}: {how}" if life.changes else how
        self._out.append(((life.told, told), state))

    def _told_apart(self, pages: tuple[int, ...]) -> tuple[int, ...]:
        """As few as tell states apart."""
        newest, last = self._solid(pages)
        pages = self._outdated(pages, newest, last)
        if not self._exact:
            pages = self._erasable(pages)
        pages = self._renumbered(pages)
        return pages if self._exact else self._turned(pages)

    def _fact(self, page: int) -> _Facts:
        if page not in self._facts:
            self._facts[page] = _Facts(self.symbols.reads(page))
        return self._facts[page]

    def _solid(self, pages: tuple[int, ...]) -> tuple[KeptRecord | None, dict[int, int]]:
        """The newest record that is there whenever it is read; each key's newest number."""
        solid = sorted(one for page in pages if (one := self._fact(page).solid) is not None)
        return (solid[-1] if solid else None), {one.key: one.sequence for one in solid}

    def _outdated(
        self, pages: tuple[int, ...], newest: KeptRecord | None, last: dict[int, int]
    ) -> tuple[int, ...]:
        """What is below the floor of a record that is there whenever it is read, or older than such
        a record of its key, must never be read again, whatever it is: it is old."""
        if newest is None:
            return pages

        def less(read: PageRead) -> PageRead:
            if not isinstance(read, KeptRecord) or read.sequence >= newest.sequence:
                return read
            if read.key == _NO_KEY:
                return replace(read, floor=0)
            if read.sequence < newest.floor or read.sequence < last.get(read.key, 0):
                return KeptRecord(read.sequence, 0, read.key, OLD)
            return read

        name = ("less", newest.sequence, newest.floor, *sorted(last.items()))
        return tuple(self.symbols.changed(page, name, less) for page in pages)

    def _erasable(self, pages: tuple[int, ...]) -> tuple[int, ...]:
        """A sector without records is erased before it is used, and no other is looked at for blank
        pages than behind what is in it."""
        found = list(pages)
        for begin in range(0, len(pages), self.slots):
            numbers = range(begin, begin + self.slots)
            written = not any(self._fact(pages[number]).sequences for number in numbers)
            for number in reversed(numbers):
                if written and not self._fact(pages[number]).sequences:
                    found[number] = self._void
                written = written or not pages[number] & self._blank
        return tuple(found)

    def _renumbered(self, pages: tuple[int, ...]) -> tuple[int, ...]:
        newest, _ = self._solid(pages)
        numbers = sorted({n for page in pages for n in self._fact(page).sequences})
        if not numbers:
            return pages
        middle = newest.sequence if newest is not None else numbers[-1]
        to = nearer(numbers, middle, self.sectors * self.slots)

        def numbered(read: PageRead) -> PageRead:
            if not isinstance(read, KeptRecord):
                return read
            floor = 0
            if read.floor > numbers[0]:
                at = bisect_left(numbers, read.floor)
                floor = to[numbers[at]] if at < len(numbers) else to[numbers[-1]] + 1
            return replace(read, sequence=to[read.sequence], floor=floor)

        return tuple(self.symbols.changed(page, ("to", *to.items()), numbered) for page in pages)

    def _turned(self, pages: tuple[int, ...]) -> tuple[int, ...]:
        """The sectors are a ring: it is told by where its oldest record is."""

        def oldest(begin: int) -> tuple[int, tuple[int, ...]]:
            found = [
                n for page in pages[begin : begin + self.slots] for n in self._fact(page).sequences
            ]
            return min(found, default=1 << 40), pages[begin:] + pages[:begin]

        first = min(range(0, len(pages), self.slots), key=oldest)
        return pages[first:] + pages[:first]


class _Facts:
    """What is looked at again and again of a page."""

    def __init__(self, reads: list[PageRead]) -> None:
        records = [one for one in reads if isinstance(one, KeptRecord)]
        self.sequences = tuple(sorted({one.sequence for one in records}))
        self.solid = records[0] if len(reads) == len(records) == 1 else None


def _payload(value: int) -> bytes:
    return bytes([value]) * _PAYLOAD


def _with(values: Values, key: int, value: int) -> Values:
    return (*values[:key], value, *values[key + 1 :])
