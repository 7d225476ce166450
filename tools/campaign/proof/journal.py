"""lib/journal.py on three sectors of a few slots, visited to the end.

A slot is a symbol, and its bytes are made of it when the journal reads it:

    Blank       as erased
    JournalRecord      whole, or with one bit flipped: in its head or behind it
    Spoiled     what is no record any more, in every kind that the journal tells apart
    Wavering    one of several of these, another at every power-up

That is more than any fault leaves: a program that is cut leaves a slot that may read as blank, as
whole, or as spoiled in every way, anew at each start; so does an erase that is cut for every slot
of its sector. Sequence numbers are told by their differences, states by whether they are the one
that holds, the one in hand, or older. docs/findings/powercuts.md has the assumptions.
"""

from __future__ import annotations

import hashlib
from binascii import crc32
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.search import BrokenError, Choices

SLOT = 256
PAYLOAD = 4
_HEAD, _SIZE = 12, 24  # 12 + payload + 8
_ENDLESS = 200  # changes of flash in one run: no store has so many
HOLDS, IN_HAND, OLD = 1, 2, 3  # what a state is


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


@dataclass(frozen=True)
class Wavering:
    """How it may read at a power-up."""

    reads: frozenset[Read]

    def __repr__(self) -> str:
        return f"Wavering({', '.join(sorted(map(repr, self.reads)))})"


Slot = Read | Wavering


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


def reads(slot: Slot) -> frozenset[Read]:
    return slot.reads if isinstance(slot, Wavering) else frozenset({slot})


def torn_program(slot: Slot, record: JournalRecord, way: str, counts: bool) -> Slot:
    """`way`: cut "early", it may read as before for ever; "late", as whole."""
    if way == "early":
        return Wavering(reads(slot) | spoiled(record.sequence, counts))
    return Wavering(frozenset({record}) | spoiled(record.sequence, counts))


def torn_erase(slot: Slot, counts: bool) -> Slot:
    if slot == BLANK:
        return slot
    every: frozenset[Read] = reads(slot) | {BLANK}
    for read in reads(slot):
        if not isinstance(read, Blank) and _sequence(read):
            every |= spoiled(_sequence(read), counts)
    return Wavering(every)


def _sequence(slot: Read) -> int:
    return 0 if isinstance(slot, Blank) else slot.sequence


@dataclass(frozen=True)
class JournalState:
    """A journal without power. slots: of all sectors in order. may: which states it may hold. new:
    it may hold none, as from the factory. clean: it went to sleep in order: nothing is written to
    make it solid, but what is weak may read otherwise. cuts: since the last new state, less the
    spoiled slots that were jumped over, up to as many as there are slots. worn: its worn sector,
    or −1."""

    slots: tuple[Slot, ...]
    may: frozenset[int]
    new: bool = False
    clean: bool = False
    cuts: int = 0
    worn: int = -1


class _FewSectors:
    """What the journal is given. Changes of `slots` are there when the power is gone."""

    UNIT = 8

    def __init__(self, world: JournalWorld, state: JournalState, choices: Choices) -> None:
        self.SECTORS = world.sectors
        self.SECTOR = world.slots * SLOT
        self.slots = list(state.slots)
        self.worn = state.worn
        self._choices = choices
        self._wears, self._leaps, self._counts = world.wears, world.leaps, world.counts
        self._now: dict[int, Read] = {}
        self._changes = 0
        self._exact: dict[int, bytes] = {}  # as programmed now: with its count of erases
        self.on_cut: Callable[[str, list[Slot]], None] = lambda _what, _slots: None

    def _read(self, number: int) -> Read:
        """How a slot reads until the power goes."""
        slot = self.slots[number]
        if not isinstance(slot, Wavering):
            return slot
        if number not in self._now:
            options = sorted(slot.reads, key=repr)
            self._now[number] = self._choices.one(f"slot {number} reads", options)
        return self._now[number]

    def read(self, address: int, buffer: bytearray) -> None:
        number = address // SLOT
        buffer[:] = self._exact.get(number) or content(self._read(number))

    def program(self, address: int, data: bytearray) -> None:
        number = address // SLOT
        record = JournalRecord(int.from_bytes(data[:4], "little"), data[_HEAD])
        before = self._read(number)
        torn = {
            way: [torn_program(self.slots[number], record, way, self._counts)]
            for way in ("early", "late")
        }
        if self._leaps:
            both = reads(torn["early"][0]) | reads(torn["late"][0])
            torn = {"": [Wavering(both)]}
        if self._goes_wrong(f"program {number}", number // (self.SECTOR // SLOT), [number], torn):
            return
        self._exact[number] = bytes(data)
        if before != BLANK:
            self._exact.pop(number)
            self.slots[number] = Wavering(
                spoiled(record.sequence, self._counts)
            )  # both are there: neither is
            self._now[number] = Spoiled("many")
        elif isinstance(self.slots[number], Wavering):
            # What was weak and is not programmed now stays weak.
            self.slots[number] = Wavering(
                frozenset({record}) | spoiled(record.sequence, self._counts)
            )
            self._now[number] = record
        else:
            self.slots[number] = record

    def erase(self, sector: int) -> None:
        count = self.SECTOR // SLOT
        numbers = list(range(sector * count, (sector + 1) * count))
        torn = {"": [torn_erase(self.slots[number], self._counts) for number in numbers]}
        if self._goes_wrong(f"erase {sector}", sector, numbers, torn):
            return
        for number in numbers:
            self.slots[number] = BLANK
            self._now.pop(number, None)
            self._exact.pop(number, None)

    def _goes_wrong(
        self, what: str, sector: int, numbers: list[int], torn: dict[str, list[Slot]]
    ) -> bool:
        """True: the sector is worn out, and did not do it."""
        self._changes += 1
        if self._changes > _ENDLESS:
            raise BrokenError("it writes and writes")
        for way, slots in torn.items():
            after = list(self.slots)
            for number, slot in zip(numbers, slots, strict=True):
                after[number] = slot
            self.on_cut(f"{what}: is cut {way}".rstrip(), after)
        ways = ["is done"]
        if sector == self.worn:
            ways = ["fails"]
        elif self.worn < 0 and self._wears:
            ways.append("fails")
        if self._choices.one(what, ways) == "is done":
            return False
        left = next(iter(torn.values()))
        for number, slot in zip(numbers, left, strict=True):
            self.slots[number] = slot
            self._now.pop(number, None)
            self._exact.pop(number, None)
        self.worn = sector
        for number, slot in zip(numbers, left, strict=True):
            if isinstance(slot, Wavering):  # half of its bits are done: it is not whole
                options = sorted((one for one in slot.reads if isinstance(one, Spoiled)), key=repr)
                self._now[number] = self._choices.one(f"slot {number} is left", options)
        return True


class JournalWorld:
    """`library`: of the firmware under test. slots: of a sector. wears: one sector may wear out at
    any time. rots: one bit of the newest record may flip. replaces: states give way for good.
    leaps: what a cut program left may read as whole at one power-up and as blank at another.
    counts: no more spoiled slots are jumped over than the power was cut."""

    def __init__(
        self,
        library: Library,
        *,
        sectors: int = 3,
        slots: int = 3,
        wears: bool = False,
        rots: bool = True,
        replaces: bool = True,
        leaps: bool = False,
        counts: bool = False,
    ) -> None:
        self._module = library["journal"]
        self.sectors, self.slots = sectors, slots
        self.wears, self.leaps = wears, leaps
        self.counts = counts
        self._rots, self._replaces = rots, replaces

    def starts(self) -> Iterator[JournalState]:
        yield JournalState((BLANK,) * (self.sectors * self.slots), frozenset({HOLDS}), new=True)

    def run(self, state: JournalState, choices: Choices) -> Iterator[tuple[str, JournalState]]:
        """From a power-up on. What a cut leaves is there before it is known whether all goes well.
        What a cut before an operation leaves needs not be looked at: one in it may leave the same.
        """
        flash = _FewSectors(self, state, choices)
        left: list[tuple[str, JournalState]] = []
        now = state

        def cut(what: str, slots: list[Slot]) -> None:
            most = self.sectors * self.slots
            after = replace(now, slots=tuple(slots), worn=flash.worn, cuts=min(most, now.cuts + 1))
            left.append(("; ".join((*choices.told, what)), after))

        def rest(way: str) -> tuple[str, JournalState]:
            told = "; ".join((*choices.told, way))
            return told, replace(now, slots=tuple(flash.slots), worn=flash.worn)

        flash.on_cut = cut
        journal = self._module.Journal(flash, PAYLOAD)
        loaded = self._load(journal, state)
        now = replace(now, clean=False)
        if not state.clean:
            skipped = journal.skipped
            self._append(journal, loaded)
            self._append(journal, loaded)
            now = replace(_settled(now, flash, loaded), cuts=max(0, now.cuts - skipped))
            now = replace(now, clean=True)
            left.append(rest("sleeps"))
            now = replace(now, clean=False)
            yield from left
            left.clear()
        before = now
        now = replace(now, may=frozenset({HOLDS, IN_HAND}))
        self._work(journal, flash, before, choices)
        now = replace(_settled(now, flash, IN_HAND), cuts=0, clean=True)
        left.append(rest("sleeps"))
        now = replace(now, cuts=1, clean=False)
        left.append(rest("power goes"))
        yield from left

    def told_by(self, state: JournalState) -> Iterator[JournalState]:
        """As few as tell states apart: what may have rotted, renumbered."""
        if not self.counts:
            state = replace(state, cuts=0)
        yield from self._rotten(_renumbered(_outdated(state)))

    def wider(self, state: JournalState) -> Iterator[JournalState]:
        """States out of which all can come that can come out of this one."""
        following = max((_sequence(one) for slot in state.slots for one in reads(slot)), default=0)
        for number, slot in enumerate(state.slots):
            for other in _wider(slot, following + 1) if not self.counts else ():
                slots = list(state.slots)
                slots[number] = other
                yield replace(state, slots=tuple(slots))

    def _load(self, journal: Any, state: JournalState) -> int:
        try:
            loaded = journal.load()
        except self._module.DamagedError:
            raise BrokenError("nothing can be read any more") from None
        if loaded is None:
            if not state.new:
                raise BrokenError("taken for a journal from the factory")
            return HOLDS
        if loaded[0] not in state.may:
            raise BrokenError(f"state {loaded[0]} is back; it may hold {sorted(state.may)}")
        if self.counts and journal.skipped > state.cuts:
            raise BrokenError(f"{journal.skipped} spoiled slots after {state.cuts} cuts")
        return int(loaded[0])

    def _append(self, journal: Any, state: int) -> None:
        try:
            journal.append(bytes([state]) * PAYLOAD)
        except OSError:
            raise BrokenError("no slot takes a record") from None

    def _work(
        self, journal: Any, flash: _FewSectors, state: JournalState, choices: Choices
    ) -> None:
        """What is done once it is solid."""
        ways = ["appends"]
        if self._replaces and flash.worn < 0:
            ways.append("replaces")
        way = choices.one("then it", ways)
        if way == "replaces":
            self._replace(journal, flash)
        else:
            self._append(journal, IN_HAND)

    def _replace(self, journal: Any, flash: _FewSectors) -> None:
        try:
            journal.replace(bytes([IN_HAND]) * PAYLOAD)
        except OSError:
            raise BrokenError("a state cannot be replaced") from None
        if flash.worn >= 0:
            return
        for slot in flash.slots:
            if any(isinstance(one, JournalRecord) and one.state != IN_HAND for one in reads(slot)):
                raise BrokenError("what was replaced is still in flash")

    def _rotten(self, state: JournalState) -> Iterator[JournalState]:
        """One bit of the newest record, where it is solid, may have flipped."""
        yield state
        whole = [
            (slot.sequence, number)
            for number, slot in enumerate(state.slots)
            if isinstance(slot, JournalRecord)
        ]
        if not whole or not self._rots:
            return
        number = max(whole)[1]
        slot = state.slots[number]
        assert isinstance(slot, JournalRecord)
        for flipped in ("head", "body") if not slot.flipped else ():
            slots = list(state.slots)
            slots[number] = replace(slot, flipped=flipped)
            yield replace(state, slots=tuple(slots))


def _wider(slot: Slot, following: int) -> Iterator[Slot]:
    """Slots that may read as this one does, and otherwise too. following: the next number."""
    if isinstance(slot, Blank):
        yield Wavering(frozenset({BLANK}) | spoiled(following, counts=False))
    elif isinstance(slot, JournalRecord):
        yield Wavering(frozenset({slot}) | spoiled(slot.sequence, counts=False))
    elif isinstance(slot, Wavering) and BLANK not in slot.reads:
        yield Wavering(slot.reads | {BLANK})


def _settled(state: JournalState, flash: _FewSectors, now: int) -> JournalState:
    """From now on this state holds; every other is old."""

    def known(read: Read) -> Read:
        if not isinstance(read, JournalRecord):
            return read
        return replace(read, state=HOLDS if read.state == now else OLD)

    flash.slots = list(_each(flash.slots, known))
    flash._now = {number: known(read) for number, read in flash._now.items()}
    return replace(state, may=frozenset({HOLDS}), new=False)


def _outdated(state: JournalState) -> JournalState:
    """What is before the newest solid record of the state that holds must never come back, whatever
    it is: it counts as old."""
    solid = [
        slot.sequence
        for slot in state.slots
        if isinstance(slot, JournalRecord) and slot.state == HOLDS
    ]
    newest = max(solid, default=0)

    def older(read: Read) -> Read:
        if isinstance(read, JournalRecord) and read.sequence < newest:
            return JournalRecord(read.sequence, OLD, read.flipped)
        return read

    return replace(state, slots=_each(state.slots, older))


def _each(slots: Iterable[Slot], change: Callable[[Read], Read]) -> tuple[Slot, ...]:
    return tuple(
        Wavering(frozenset(map(change, slot.reads))) if isinstance(slot, Wavering) else change(slot)
        for slot in slots
    )


def _renumbered(state: JournalState) -> JournalState:
    """Sequence numbers from 1: only their differences matter."""
    numbers = [_sequence(one) for slot in state.slots for one in reads(slot) if _sequence(one)]
    if not numbers or min(numbers) == 1:
        return state
    off = min(numbers) - 1

    def nearer(read: Read) -> Read:
        if isinstance(read, Blank) or not read.sequence:
            return read
        return replace(read, sequence=read.sequence - off)

    return replace(state, slots=_each(state.slots, nearer))
