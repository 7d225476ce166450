"""lib/journal.py on three sectors of a few slots, visited to the end.

A slot is a cell (proof/cells.py), and its bytes are made of how it reads:

    Blank       as erased
    JournalRecord      whole, or with one bit flipped: in its head or behind it
    Spoiled     what is no record any more, in every kind that the journal tells apart

That is more than any fault leaves: a program that is cut leaves a slot that may read as blank, as
whole, or as spoiled in every way, anew at each start; so does an erase that is cut for every slot
of its sector. Sequence numbers are told by their differences, states by whether they are the one
that holds, the one in hand, or older. docs/findings/powercuts.md has the assumptions.
"""

from __future__ import annotations

import hashlib
import itertools
from binascii import crc32
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from tallystick.tools.campaign.proof.cells import Symbols
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.lives import Ask, Lives, Question
from tallystick.tools.campaign.proof.numbers import ANCHOR, apart, down_to, nearer
from tallystick.tools.campaign.proof.powered import PoweredLife, PoweredWorld, Told

SLOT = 256
PAYLOAD = 4
_HEAD, _SIZE = 12, 24  # 12 + payload + 8
_ENDLESS = 200  # changes of flash in one run: no store has so many
HOLDS, IN_HAND, OLD = 1, 2, 3  # what a state is
_STATES = 1 << HOLDS | 1 << IN_HAND | 1 << OLD


@dataclass(frozen=True, order=True)
class JournalRecord:
    """state: one of the three. flipped: "", "head", "body"."""

    sequence: int
    state: int
    flipped: str = ""


@dataclass(frozen=True, order=True)
class Spoiled:
    """sequence: where number and complement agree, else 0. kind: "check" (there is one), "none"
    (nothing of it); with a wrong head "few" (bits of it) or "many"."""

    kind: str
    sequence: int = 0


@dataclass(frozen=True, order=True)
class Blank:
    pass


Read = JournalRecord | Spoiled | Blank
BLANK = Blank()


@cache
def content(read: Read) -> bytes:
    """The first bytes of a slot that reads so."""
    if isinstance(read, Blank):
        return b"\xff" * _SIZE
    if isinstance(read, JournalRecord):
        record = bytearray(_record(read.sequence, bytes([read.state]) * PAYLOAD))
        if read.flipped:
            record[1 if read.flipped == "head" else _HEAD + 1] ^= 4
        return bytes(record)
    record = bytearray(_record(read.sequence or 1, b"torn"))
    record[_HEAD] ^= 0x55
    record[_HEAD + 1] ^= 0x2A
    if read.kind == "none":
        record[-8:] = b"\xff" * 8
    elif read.kind == "few":
        record[4] ^= 0x11
    elif read.kind == "many":
        record[4:8] = b"\xff" * 4
        record[0:4] = b"\xff\xff\xff\xf0"
    return bytes(record)


def _record(sequence: int, payload: bytes) -> bytes:
    body = sequence.to_bytes(4, "little") + (sequence ^ 0xFFFFFFFF).to_bytes(4, "little")
    body += bytes(4) + payload
    return body + crc32(body).to_bytes(4, "little") + hashlib.sha256(body).digest()[:4]


def spoiled(sequence: int, counts: bool) -> frozenset[Read]:
    """Every way in which a record can be spoiled. Unless spoiled slots are counted, what is there
    of a check makes no difference."""
    readable, torn = Spoiled("check", sequence), Spoiled("many")
    if not counts:
        return frozenset({readable, torn})
    return frozenset({readable, torn, Spoiled("none", sequence), Spoiled("few")})


def _sequence(read: Read) -> int:
    return 0 if isinstance(read, Blank) else read.sequence


class JournalState(NamedTuple):
    """A journal without power. cells: of all sectors in order, as numbers (proof/cells.py). may:
    which states it may hold, a bit each. new: it may hold none, as from the factory. clean: it went
    to sleep in order: nothing is written to make it solid, but what is weak may read otherwise.
    torn: operations, since a start last came to its end, up to what is assumed. cuts: since the
    last new state, less the spoiled slots that were jumped over, up to as many as there are slots.
    worn: its worn sector, or -1."""

    cells: tuple[int, ...]
    may: int
    new: bool = False
    clean: bool = False
    torn: int = 0
    cuts: int = 0
    worn: int = -1


class _JournalLife(PoweredLife):
    """A journal with power."""

    __slots__ = ("clean", "cuts", "may", "new", "torn", "worn")
    FIELDS = (*PoweredLife.FIELDS, *__slots__)

    def __init__(self, state: JournalState) -> None:
        super().__init__(state.cells)
        self.may, self.new, self.clean = state.may, state.new, state.clean
        self.torn, self.cuts, self.worn = state.torn, state.cuts, state.worn


class _FewSectors:
    """What the journal is given: it asks for everything."""

    UNIT = 8

    def __init__(self, world: JournalWorld, ask: Ask) -> None:
        self.SECTORS = world.sectors
        self.SECTOR = world.slots * SLOT
        self._symbols, self._ask = world.symbols, ask
        self._exact: dict[int, tuple[int, bytes]] = {}  # as programmed: with its count of erases

    def read(self, address: int, buffer: bytearray) -> None:
        number = address // SLOT
        read = self._ask(("read", number))
        symbol, exact = self._exact.get(number, (-1, b""))
        buffer[:] = exact if symbol == read else content(self._symbols[read])

    def program(self, address: int, data: bytearray) -> None:
        number, within = divmod(address, SLOT)
        if within or len(data) < _SIZE:
            self._ask(("broken", "a record is written in pieces"))
        self._ask(("read", number))
        record = self._symbols.number(
            JournalRecord(int.from_bytes(data[:4], "little"), data[_HEAD])
        )
        self._exact[number] = (record, bytes(data))
        self._ask(("number", record))
        self._ask(("program", number, record))

    def erase(self, sector: int) -> None:
        self._ask(("erase", sector))
        for number in range(sector * self.SECTOR // SLOT, (sector + 1) * self.SECTOR // SLOT):
            self._exact.pop(number, None)


class JournalWorld(PoweredWorld[Read, _JournalLife]):
    """`library`: of the firmware under test. slots: of a sector. torn: so many operations
    at most are torn before a start comes to its end; None: any number. wears: one sector
    may wear out at any time. rots: one bit of the newest record may flip. replaces: states give way
    for good. leaps: what a cut program left may read as whole at one power-up and as blank at
    another. counts: no more spoiled slots are jumped over than the power was cut since the last new
    state, but for one, the first of a sector from before. ranks: numbers
    before the newest solid record are told by their order alone."""

    CELL, ENDLESS = "slot", _ENDLESS

    def __init__(
        self,
        library: Library,
        *,
        sectors: int = 3,
        slots: int = 3,
        torn: int | None = None,
        wears: bool = False,
        rots: bool = True,
        replaces: bool = True,
        leaps: bool = False,
        counts: bool = False,
        ranks: bool = True,
        new: bool = False,
    ) -> None:
        self._module = library["journal"]
        self.sectors, self.slots = sectors, slots
        self._torn, self._wears, self._leaps = torn, wears, leaps
        self._counts, self._rots, self._replaces, self._ranks = counts, rots, replaces, ranks
        self._new = new
        self.begin: JournalState | None = None
        self.symbols: Symbols[Read] = Symbols()
        self._blank = self.symbols.cell([BLANK])
        self._spoils: dict[int, int] = {}
        self._numbers: dict[int, tuple[int, ...]] = {}
        self._solid: dict[int, int] = {}
        self._out: list[tuple[Told, JournalState]] = []
        self._plain = (-1, self.symbols.number(BLANK))
        self.lives = Lives(self._script, self._step, _JournalLife.copy, self._alike)

    def starts(self) -> Iterator[JournalState]:
        """Of a card in service, or (new) as from the factory; or `begin`."""
        if self.begin is not None:
            yield self.begin
            return
        cells = [self._blank] * (self.sectors * self.slots)
        if not self._new:
            for slot in (0, 1):
                cells[slot] = self.symbols.cell([JournalRecord(ANCHOR - 1 + slot, HOLDS)])
        yield JournalState(tuple(cells), 1 << HOLDS, new=self._new)

    def run(self, state: JournalState) -> Iterator[tuple[Told, JournalState]]:
        """From a power-up on. What a cut before an operation leaves needs not be looked at, unless
        none may be torn any more: one in it may leave the same."""
        self._out = []
        self.lives.walk(_JournalLife(state))
        yield from self._out

    def sets(self, state: JournalState) -> tuple[Hashable, tuple[int, ...]]:
        """Where fewer states may hold it is sooner wrong; where less was torn more may be; where
        the power was cut less often, less may be jumped over."""
        rest = (~state.may & _STATES, _from(state.torn), _from(state.cuts), int(not state.new))
        return (state.clean, state.worn), (*rest, *state.cells)

    def shown(self, state: JournalState) -> str:
        cells = ", ".join(map(self.symbols.shown, state.cells))
        return f"{cells}; {state[1:]}"

    # -- what is run -----------------------------------------------------------------------------

    def _script(self, ask: Ask) -> None:
        """A start, and what is done once it is solid."""
        journal = self._module.Journal(_FewSectors(self, ask), PAYLOAD)
        try:
            loaded = journal.load()
        except self._module.DamagedError:
            ask(("broken", "nothing can be read any more"))
            return
        told = tuple(value for value in vars(journal).values() if isinstance(value, int))
        clean = ask(("loaded", loaded[0] if loaded is not None else 0, journal.skipped, told))
        state = loaded[0] if loaded is not None else HOLDS
        try:
            if not clean:
                journal.append(bytes([state]) * PAYLOAD)
                journal.append(bytes([state]) * PAYLOAD)
                ask(("settled", state, journal.skipped))
            if ask(("work",)) == "replaces":
                journal.replace(bytes([IN_HAND]) * PAYLOAD)
                ask(("replaced",))
            else:
                journal.append(bytes([IN_HAND]) * PAYLOAD)
        except OSError:
            ask(("broken", "no slot takes a record"))
        ask(("done",))

    # -- what may come of it ---------------------------------------------------------------------

    def _on_settled(self, life: _JournalLife, state: int, skipped: int) -> None:
        self._know(life, state)
        life.cuts = max(0, life.cuts - skipped)
        life.torn = 0
        self._leave(life, "sleeps", clean=True)

    def _on_done(self, life: _JournalLife) -> None:
        self._know(life, IN_HAND)
        life.cuts = 0
        self._leave(life, "sleeps", clean=True)
        self._leave(life, "power goes", cut=True)

    def _on_number(self, life: _JournalLife, record: int) -> list[tuple[Hashable, _JournalLife]]:
        other = self._meets(life, record) if self._ranks else None
        return [(None, life), (None, other)] if other is not None else [(None, life)]

    def _alike(self, life: _JournalLife, question: Question) -> Hashable:
        """Once the journal is loaded, of all that was read only what it remembers counts, and which
        slots are blank: it does not look at anything else again."""
        if question[0] != "loaded" or not self._ranks:
            return None
        return question, tuple(one if one in self._plain else -2 for one in life.now)

    def _on_program(
        self, life: _JournalLife, number: int, record: int
    ) -> list[tuple[Hashable, _JournalLife]]:
        cell = life.cells[number]
        spoils = self._spoiled(record)
        early, late = cell | spoils, 1 << record | spoils
        if self._leaps:
            early = late = early | late
        self._change(life, f"program {number}")
        self._cut_program(life, number, early, late)
        found = self._worn(life, number // self.slots, f"program {number}", {number: cell | spoils})
        if life.worn == number // self.slots:
            return found
        if life.now[number] != self.symbols.number(BLANK):
            life.cells[number] = spoils  # both are there: neither is
            life.now[number] = self.symbols.number(Spoiled("many"))
        else:
            # What was weak and is not programmed now stays weak.
            life.cells[number] = 1 << record if cell == self._blank else late & ~self._blank
            life.now[number] = record
        return [(None, life), *found]

    def _cut_program(self, life: _JournalLife, number: int, early: int, late: int) -> None:
        cell = life.cells[number]
        ways = {late: "late", early: "early"} if self._may_tear(life) else {cell: "before"}
        life.torn += 1
        for life.cells[number], how in ways.items():
            self._leave(life, f"program {number} is cut {how}", cut=True)
        life.cells[number] = cell
        life.torn -= 1

    def _may_tear(self, life: _JournalLife) -> bool:
        """Whether one more operation may be torn before a start comes to its end."""
        return self._torn is None or life.torn < self._torn

    def _on_erase(self, life: _JournalLife, sector: int) -> list[tuple[Hashable, _JournalLife]]:
        self._change(life, f"erase {sector}")
        numbers = range(sector * self.slots, (sector + 1) * self.slots)
        half = {number: self._half_erased(life.cells[number]) for number in numbers}
        self._cut_erase(life, sector, half)
        found = self._worn(life, sector, f"erase {sector}", half)
        if life.worn == sector:
            return found
        for number in numbers:
            life.cells[number] = self._blank
            life.now[number] = -1
        return [(None, life), *found]

    def _cut_erase(self, life: _JournalLife, sector: int, half: dict[int, int]) -> None:
        if not self._may_tear(life):
            self._leave(life, f"erase {sector} is cut before", cut=True)
            return
        cells = life.cells[:]
        life.torn += 1
        for number, cell in half.items():
            life.cells[number] = cell
        self._leave(life, f"erase {sector} is cut", cut=True)
        life.cells = cells
        life.torn -= 1

    def _half_erased(self, cell: int) -> int:
        if cell == self._blank:
            return cell
        every = cell | self._blank
        for symbol in self.symbols.numbers(cell):
            if _sequence(self.symbols[symbol]):
                every |= self._spoiled(symbol)
        return every

    def _worn(
        self, life: _JournalLife, sector: int, what: str, left: dict[int, int]
    ) -> list[tuple[Hashable, _JournalLife]]:
        """What is left where the sector is worn out, and did not do it."""
        if life.worn != sector and not (life.worn < 0 and self._wears):
            return []
        # Half of its bits are done: what may read in several ways is not whole now.
        torn = {number: cell for number, cell in left.items() if cell & cell - 1}
        halves = [
            [one for one in self.symbols.numbers(cell) if isinstance(self.symbols[one], Spoiled)]
            for cell in torn.values()
        ]
        found: list[tuple[Hashable, _JournalLife]] = []
        for reads in itertools.product(*halves):
            told = ", ".join(str(self.symbols[one]) for one in reads)
            other = life.answered(f"{what} fails: {told}")
            other.worn = sector
            for number, cell in left.items():
                other.cells[number], other.now[number] = cell, -1
            for number, read in zip(torn, reads, strict=True):
                other.now[number] = read
            found.append(((*zip(torn, reads, strict=True),), other))
        return found

    def _on_loaded(
        self, life: _JournalLife, state: int, skipped: int, _told: Hashable
    ) -> list[tuple[Hashable, _JournalLife]]:
        if not state and not life.new:
            raise self._broken(life, "taken for a journal from the factory")
        if state and not life.may >> state & 1:
            may = [one for one in (HOLDS, IN_HAND) if life.may >> one & 1]
            raise self._broken(life, f"state {state} is back; it may hold {may}")
        if self._counts and skipped > life.cuts + 1:
            raise self._broken(life, f"{skipped} spoiled slots after {life.cuts} cuts")
        clean, life.clean = life.clean, False
        return [(clean, life)]

    def _on_work(self, life: _JournalLife) -> list[tuple[Hashable, _JournalLife]]:
        life.may = 1 << HOLDS | 1 << IN_HAND
        ways = ["appends"]
        if self._replaces and life.worn < 0:
            ways.append("replaces")
        return [(way, life.answered(f"then it {way}")) for way in ways]

    def _on_replaced(self, life: _JournalLife) -> None:
        if life.worn < 0 and any(
            isinstance(one, JournalRecord) and one.state != IN_HAND
            for cell in life.cells
            for one in self.symbols.reads(cell)
        ):
            raise self._broken(life, "what was replaced is still in flash")

    def _know(self, life: _JournalLife, now: int) -> None:
        """From now on this state holds; every other is old."""

        def known(read: Read) -> Read:
            if not isinstance(read, JournalRecord):
                return read
            return replace(read, state=HOLDS if read.state == now else OLD)

        self._changed(life, now, known)
        life.may, life.new = 1 << HOLDS, False

    def _spoiled(self, record: int) -> int:
        """Every way in which this one can be spoiled."""
        if record not in self._spoils:
            sequence = _sequence(self.symbols[record])
            self._spoils[record] = self.symbols.cell(
                sorted(spoiled(sequence, self._counts), key=repr)
            )
        return self._spoils[record]

    # -- what is left ----------------------------------------------------------------------------

    def nearest(self, state: JournalState) -> JournalState:
        """The state that stands for this one."""
        return state._replace(cells=self._told_apart(list(state.cells), state.new))

    def _leave(self, life: _JournalLife, how: str, cut: bool = False, clean: bool = False) -> None:
        cuts = min(life.cuts + cut, self.sectors * self.slots) if self._counts else 0
        cells = self._told_apart(life.cells, life.new)
        torn = min(life.torn, self._torn) if self._torn is not None else 0
        state = JournalState(cells, life.may, life.new, clean, torn, cuts, life.worn)
        told = (life.told, f"{life.changes}: {how}" if life.changes else how)
        self._out.append((told, state))
        if self._rots:
            self._out.extend((told, one) for one in self._rotten(state))

    def _told_apart(self, cells: list[int], new: bool) -> tuple[int, ...]:
        """As few as tell states apart. What is before the newest solid record of the state that
        holds must never come back, whatever it is: it counts as old. Of sequence numbers only the
        order matters, see `_meets`."""
        anchor = max(map(self._solid_number, cells))
        every = sorted({number for cell in cells for number in self._sequences(cell)})
        if not every or (new and not anchor):
            return tuple(cells)  # numbers begin at 1 here
        middle = anchor or every[-1]
        if self._ranks:
            to = nearer(every, middle, self.sectors * self.slots)
        else:
            to = {number: ANCHOR + number - middle for number in every}
        name = (anchor, *to.items())

        def told(read: Read) -> Read:
            if isinstance(read, Blank) or not read.sequence:
                return read
            if isinstance(read, JournalRecord) and read.sequence < anchor:
                return JournalRecord(to[read.sequence], OLD, read.flipped)
            return replace(read, sequence=to[read.sequence])

        return tuple(self.symbols.changed(cell, name, told) for cell in cells)

    def _meets(self, life: _JournalLife, record: int) -> _JournalLife | None:
        """Numbers in flash that are higher than the next one may be far, or it is the next: then
        they are as many lower. None: there are none, or they are near."""
        sequence = _sequence(self.symbols[record])
        off = apart(sequence, (n for cell in life.cells for n in self._sequences(cell)))
        if not off:
            return None

        def lower(read: Read) -> Read:
            if isinstance(read, Blank):
                return read
            return replace(read, sequence=down_to(read.sequence, sequence, off))

        other = life.answered(f"number {sequence} was there before")
        self._changed(other, (sequence, off), lower)
        return other

    def _solid_number(self, cell: int) -> int:
        """Of a record that is there whenever it is read, of the state that holds; or 0."""
        if cell not in self._solid:
            one = self.symbols.reads(cell)[0] if cell & cell - 1 == 0 else BLANK
            holds = isinstance(one, JournalRecord) and one.state == HOLDS
            self._solid[cell] = _sequence(one) if holds else 0
        return self._solid[cell]

    def _sequences(self, cell: int) -> tuple[int, ...]:
        if cell not in self._numbers:
            found = {_sequence(one) for one in self.symbols.reads(cell)} - {0}
            self._numbers[cell] = tuple(sorted(found))
        return self._numbers[cell]

    def _rotten(self, state: JournalState) -> Iterator[JournalState]:
        """One bit of the newest record, where it is solid, may have flipped."""
        whole = []
        for number, cell in enumerate(state.cells):
            one = self.symbols.reads(cell)[0] if cell & cell - 1 == 0 else BLANK
            if isinstance(one, JournalRecord):
                whole.append((one.sequence, number, one))
        if not whole:
            return
        _, number, record = max(whole)
        for flipped in ("head", "body") if not record.flipped else ():
            rotten = self.symbols.cell([replace(record, flipped=flipped)])
            cells = (*state.cells[:number], rotten, *state.cells[number + 1 :])
            yield state._replace(cells=cells)


def _from(number: int) -> int:
    """The set of all numbers from this one on."""
    return (1 << _ENDLESS) - (1 << number)
