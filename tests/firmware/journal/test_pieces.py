"""The journal in this interpreter: every byte that it writes, every sector that it erases, what it
takes for whole and what it counts. The flash here does what it is told; `test_journal.py` cuts."""

from __future__ import annotations

import hashlib
from binascii import crc32
from typing import Any

import pytest

from tallystick.tools.campaign.proof.library import Library

SLOT, SECTOR, UNIT, PAYLOAD = 256, 1024, 8, 40


@pytest.fixture(scope="module")
def lib() -> Library:
    return Library()


class Listed:
    """A flash in RAM that lists what is done to it; `bad` sectors do nothing and say so, `deaf`
    ones do nothing and say nothing. `reads`: the addresses that were read."""

    SECTOR, UNIT = SECTOR, UNIT

    def __init__(self, sectors: int = 4, unit: int = UNIT) -> None:
        self.SECTORS, self.UNIT = sectors, unit
        self.memory = bytearray(b"\xff" * sectors * SECTOR)
        self.done: list[tuple[str, int]] = []
        self.reads: list[int] = []
        self.bad: set[int] = set()
        self.deaf: set[int] = set()

    def read(self, address: int, buffer: bytearray) -> None:
        self.reads.append(address)
        buffer[:] = self.memory[address : address + len(buffer)]

    def program(self, address: int, data: bytearray) -> None:
        assert len(data) % self.UNIT == 0
        self.done.append(("program", address))
        if self._does(address // SECTOR):
            old = self.memory[address : address + len(data)]
            both = bytes(a & b for a, b in zip(old, data, strict=True))
            self.memory[address : address + len(data)] = both

    def erase(self, sector: int) -> None:
        self.done.append(("erase", sector))
        if self._does(sector):
            self.memory[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR

    def _does(self, sector: int) -> bool:
        if sector in self.bad:
            raise OSError(5)
        return sector not in self.deaf


def state(n: int, size: int = PAYLOAD) -> bytes:
    return bytes((n,)) * size


def record(sequence: int, payload: bytes, erases: int = 1) -> bytearray:
    body = sequence.to_bytes(4, "little") + (sequence ^ 0xFFFFFFFF).to_bytes(4, "little")
    body += erases.to_bytes(4, "little") + payload
    check = crc32(body).to_bytes(4, "little") + hashlib.sha256(body).digest()[:4]
    return bytearray(body + check)


def number(n: int, slots: int = SECTOR // SLOT) -> int:
    """Of the record n, from 0: each sector that is opened leaps over as many as it has slots."""
    return n + 1 + slots * (n // slots + 1)


def put(flash: Listed, sector: int, slot: int, content: bytes) -> None:
    at = sector * SECTOR + slot * SLOT
    flash.memory[at : at + len(content)] = content


def opened(lib: Library, flash: Listed, **options: Any) -> tuple[Any, bytes | None]:
    journal = lib["journal"].Journal(flash, PAYLOAD, **options)
    return journal, journal.load()


def fresh(lib: Library, flash: Listed) -> Any:
    journal, loaded = opened(lib, flash)
    assert loaded is None
    return journal


def spoiled(content: bytearray, *places: int) -> bytearray:
    """Two bits of it, or those that are named, are others."""
    for place in places or (12 * 8, 20 * 8):
        content[place >> 3] ^= 1 << (place & 7)
    return content


@pytest.mark.parametrize(("unit", "length"), [(1, 60), (8, 64), (256, 256), (59, 118), (61, 61)])
def test_every_byte_of_a_record(lib: Library, unit: int, length: int) -> None:
    flash = Listed(unit=unit)
    journal = fresh(lib, flash)
    assert len(journal._record) == length
    for n in range(1, 3):
        journal.append(state(n))
        written = record(number(n - 1), state(n))
        at = (n - 1) * SLOT
        assert flash.memory[at : at + SLOT] == bytes(written).ljust(SLOT, b"\xff")
    assert flash.done == [("erase", 0), ("program", 0), ("program", 256)]


def test_where_a_lap_of_the_ring_writes(lib: Library) -> None:
    flash = Listed(sectors=3)
    journal = fresh(lib, flash)
    for n in range(14):
        journal.append(state(n))
    expected: list[tuple[str, int]] = []
    for n in range(14):
        sector, slot = n // 4 % 3, n % 4
        if slot == 0:
            expected.append(("erase", sector))
        expected.append(("program", sector * SECTOR + slot * SLOT))
    assert flash.done == expected
    assert (journal.erases, journal.dead, journal.skipped) == (4, 0, 0)
    assert flash.memory[SECTOR * 0 + 0 : 60] == record(number(12), state(12), erases=4)
    again, loaded = opened(lib, flash)
    assert (loaded, again.erases, again.skipped) == (state(13), 4, 0)
    again.append(state(14))
    assert flash.done[-1] == ("program", 2 * SLOT)
    assert flash.memory[2 * SLOT : 2 * SLOT + 60] == record(number(14), state(14), erases=4)


def test_a_record_of_one_size_after_one_of_another_leaves_nothing_of_it(lib: Library) -> None:
    flash = Listed()
    journal = fresh(lib, flash)
    journal.append(state(1))
    journal.payload = 20
    journal.append(state(2, 20))
    written = bytes(record(number(1), state(2, 20)))
    assert flash.memory[SLOT : 2 * SLOT] == written.ljust(SLOT, b"\xff")


@pytest.mark.parametrize("size", [20, 28])
def test_earlier_formats_are_read_and_written_on(lib: Library, size: int) -> None:
    flash = Listed()
    put(flash, 0, 0, record(5, state(1, size)))
    journal, loaded = opened(lib, flash, older=(20, 28))
    assert (loaded, journal.payload) == (state(1, size), size)
    journal.append(state(2, size))
    assert flash.memory[SLOT : SLOT + size + 20] == record(6, state(2, size))


PARTS = {"number": (0, 64), "rest": (64, 52 * 8), "CRC": (52 * 8, 56 * 8),
         "digest": (56 * 8, 60 * 8)}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_one_bit_is_mended_and_two_are_not(lib: Library, part: str) -> None:
    begin, end = PARTS[part]
    for bit in range(begin, end):
        flash = Listed()
        put(flash, 0, 0, record(6, state(1)))
        put(flash, 0, 1, spoiled(record(7, state(2), erases=9), bit))
        journal, loaded = opened(lib, flash)
        assert (loaded, journal.skipped, journal.erases) == (state(2), 0, 9)
        journal.append(state(3))
        assert flash.memory[2 * SLOT : 2 * SLOT + 60] == record(8, state(3), erases=9)
        other = end - 1 if bit == begin else begin
        put(flash, 0, 1, spoiled(record(7, state(2)), bit, other))
        put(flash, 0, 2, b"\xff" * 60)
        journal, loaded = opened(lib, flash)
        assert (loaded, journal.skipped) == (state(1), 1), other


@pytest.mark.parametrize(("bits", "skipped"), [(2, 1), (8, 1), (9, 0), (12, 0)])
def test_what_may_have_been_whole_once_is_counted(lib: Library, bits: int, skipped: int) -> None:
    """Up to eight bits are rot; what has more, or no check, a cut has left."""
    flash = Listed()
    put(flash, 0, 0, record(6, state(1)))
    put(flash, 0, 1, spoiled(record(7, state(2)), *(7 * n for n in range(bits))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (state(1), skipped)


@pytest.mark.parametrize(("kept", "skipped"), [(52, 0), (53, 1), (60, 1)])
def test_a_record_without_a_check_was_never_whole(lib: Library, kept: int, skipped: int) -> None:
    flash = Listed()
    put(flash, 0, 0, record(6, state(1)))
    torn = spoiled(record(7, state(2)))
    put(flash, 0, 1, torn[:kept])
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (state(1), skipped)


@pytest.mark.parametrize("byte", range(7, 9))
def test_one_byte_of_a_check_is_one(lib: Library, byte: int) -> None:
    """Of the last eight; what is before them is none of it."""
    flash = Listed()
    put(flash, 0, 0, record(6, state(1)))
    torn = spoiled(record(7, state(2)))
    torn[-8:] = b"\xff" * 8
    torn[-1 if byte == 7 else -9] = 0x12
    put(flash, 0, 1, torn)
    assert opened(lib, flash)[0].skipped == (byte == 7)


def test_a_record_of_an_earlier_format_may_have_been_whole(lib: Library) -> None:
    flash = Listed()
    put(flash, 0, 0, record(1, state(1, 28)))
    put(flash, 0, 1, spoiled(record(2, state(2, 28))))
    journal, loaded = opened(lib, flash, older=(28,))
    assert (loaded, journal.skipped) == (state(1, 28), 1)


def test_two_bits_of_the_digest_in_two_bytes(lib: Library) -> None:
    flash = Listed()
    put(flash, 0, 0, record(6, state(1)))
    put(flash, 0, 1, spoiled(record(7, state(2)), 56 * 8 + 7, 57 * 8))
    assert opened(lib, flash)[1] == state(1)


@pytest.mark.parametrize("newest", [0x00000000, 0x01000000, 0x02030405, 0xFEFFFFFE])
def test_numbers_are_of_four_bytes(lib: Library, newest: int) -> None:
    flash = Listed()
    put(flash, 1, 0, record(newest & 0xFFFFFF, state(1)))
    put(flash, 0, 0, record(newest, state(2), erases=0x01020304))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.erases) == (
        state(2 if newest >> 24 else 1),
        0x01020304 if newest >> 24 else 1,
    )
    journal.append(state(3))
    there = 0 if newest >> 24 else SECTOR
    assert flash.memory[there + SLOT :][:60] == record(newest + 1, state(3), journal.erases)
    put(flash, 0 if newest >> 24 else 1, 2, spoiled(record(newest + 7, state(4))))
    journal = opened(lib, flash)[0]
    journal.append(state(5))
    assert flash.memory[there + 3 * SLOT :][:60] == record(newest + 8, state(5), journal.erases)


def test_a_number_that_cannot_be_read_counts_for_nothing(lib: Library) -> None:
    flash = Listed()
    put(flash, 0, 0, record(6, state(1)))
    put(flash, 0, 1, spoiled(record(0x7007, state(2)), 1))
    put(flash, 0, 1, spoiled(record(0x7007, state(2)), 1, 15 * 8))
    journal = opened(lib, flash)[0]
    journal.append(state(3))
    assert flash.memory[2 * SLOT :][:60] == record(7, state(3))


@pytest.mark.parametrize("newest", [0, 1])
@pytest.mark.parametrize("slot", [0, 2])
def test_behind_sectors_of_spoiled_records_writing_goes_on_in_the_newest(
    lib: Library, newest: int, slot: int
) -> None:
    """And the sector that has the newest whole record is known."""
    flash = Listed()
    middle, oldest = (newest - 1) % 4, (newest - 2) % 4
    put(flash, oldest, 3, record(5, state(1)))
    put(flash, middle, 1, spoiled(record(6, state(2))))
    put(flash, newest, slot, spoiled(record(7, state(2))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped, journal._held) == (state(1), 2, oldest)
    journal.append(state(3))
    assert flash.done == [("program", newest * SECTOR + (slot + 1) * SLOT)]


@pytest.mark.parametrize("slot", range(4))
def test_a_sector_is_known_by_its_only_readable_record(lib: Library, slot: int) -> None:
    """Behind blanks, or behind others whose numbers cannot be read."""
    for before in (b"", b"\x12" * 60):
        flash = Listed()
        put(flash, 1, 0, record(4, state(1)))
        for number in range(slot):
            put(flash, 2, number, before)
        put(flash, 2, slot, record(9, state(2)))
        assert opened(lib, flash)[1] == state(2)


def test_all_that_is_spoiled_is_counted_and_written_above(lib: Library) -> None:
    """Also in the sector behind, up to the newest whole record, blanks or not."""
    flash = Listed()
    put(flash, 0, 0, record(2, state(1)))
    put(flash, 0, 1, record(3, state(2)))
    put(flash, 0, 2, spoiled(record(20, state(3))))
    put(flash, 1, 0, spoiled(record(9, state(4))))
    put(flash, 1, 2, spoiled(record(7, state(5))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (state(2), 3)
    journal.append(state(6))
    assert journal.skipped == 0
    assert flash.done == [("program", SECTOR + 3 * SLOT)]
    assert flash.memory[SECTOR + 3 * SLOT :][:60] == record(21, state(6))


@pytest.mark.parametrize(
    ("full", "first", "skipped"),
    [(True, (14 * 8, 12 * 8, 1, 9), 1), (True, tuple(range(0, 64, 7)), 0), (False, (1, 9), 0)],
    ids=["rotten", "torn", "not yet begun"],
)
def test_the_only_record_of_the_next_sector(
    lib: Library, full: bool, first: tuple[int, ...], skipped: int
) -> None:
    """Nothing tells its age, but it can only have come after a full one."""
    for home in (1, 3):
        flash = Listed()
        for slot in range(4 if full else 3):
            put(flash, home, slot, record(slot + 1, state(slot)))
        put(flash, (home + 1) % 4, 0, spoiled(record(5, state(9)), *first))
        journal, loaded = opened(lib, flash)
        assert (loaded, journal.skipped) == (state(3 if full else 2), skipped)


def _rotten_alone(home: int = 1) -> Listed:
    """A full sector, and behind it a sector with one record that nothing tells the age of."""
    flash = Listed()
    for slot in range(4):
        put(flash, home, slot, record(slot + 101, state(slot)))
    put(flash, (home + 1) % 4, 0, spoiled(record(109, state(9)), 1, 9))
    return flash


@pytest.mark.parametrize("home", [1, 2, 3])
def test_what_tells_that_there_was_a_record_stays_until_the_jump_is_solid(
    lib: Library, home: int
) -> None:
    """The sector behind is opened, with numbers above the one that rotted."""
    flash = _rotten_alone(home)
    kept = slice((home + 1) % 4 * SECTOR, ((home + 1) % 4 + 1) * SECTOR)
    rotten, beyond = bytes(flash.memory[kept]), (home + 2) % 4
    jump = record(113, state(20), erases=2)
    for torn in (0, 2, 7, 9, 13, 50):
        journal, loaded = opened(lib, flash)
        assert (loaded, journal.skipped) == (state(3), 1)
        journal.append(state(20))
        assert flash.done == [("erase", beyond), ("program", beyond * SECTOR)]
        assert flash.memory[beyond * SECTOR :][:60] == jump
        put(flash, beyond, 0, jump[:torn] + b"\xff" * (60 - torn))  # cut there
        assert flash.memory[kept] == rotten
        assert opened(lib, flash)[0].skipped == 1
        put(flash, beyond, 0, bytearray(b"\xff" * 60))
        flash.done.clear()
    journal, _ = opened(lib, flash)
    for n in range(2):
        journal.append(state(20 + n))
        assert opened(lib, flash)[1] == state(20 + n)
    assert flash.memory[kept] == rotten


def test_it_is_not_counted_behind_a_sector_that_has_room(lib: Library) -> None:
    """Where the newest records of all are spoiled, and stand in another sector."""
    flash = _rotten_alone()
    put(flash, 3, 0, spoiled(record(114, state(20))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (state(3), 2)
    journal.append(state(21))
    assert flash.done == [("program", 3 * SECTOR + SLOT)]
    put(flash, 1, 3, bytearray(b"\xff" * 60))
    put(flash, 3, 1, spoiled(record(115, state(21))))
    assert (opened(lib, flash)[1], opened(lib, flash)[0].skipped) == (state(2), 2)


def test_a_next_sector_whose_age_is_told_is_counted_once(lib: Library) -> None:
    flash = Listed()
    for slot in range(4):
        put(flash, 0, slot, record(slot + 5, state(slot)))
    put(flash, 1, 0, record(1, state(7)))
    put(flash, 1, 1, spoiled(record(2, state(7))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (state(3), 0)


def test_the_newest_sector_is_told_by_any_of_its_records(lib: Library) -> None:
    """By one whose first record is spoiled, or has a bit wrong in its number."""
    flash = Listed()
    put(flash, 2, 0, record(0x201, state(1)))
    put(flash, 0, 0, spoiled(record(0x301, state(2)), 3, 9, 100))
    put(flash, 0, 1, record(0x302, state(3)))
    assert opened(lib, flash)[1] == state(3)
    put(flash, 1, 0, spoiled(record(0x303, state(4)), 31))
    assert opened(lib, flash)[1] == state(4)


def test_flash_that_can_say_so_is_not_read_where_it_is_blank(lib: Library) -> None:
    flash = Listed()
    put(flash, 1, 0, record(1, state(1)))
    flash.is_blank = lambda sector: sector != 1  # type: ignore[attr-defined]
    assert opened(lib, flash)[1] == state(1)
    assert {address // SECTOR for address in flash.reads} == {1}


def test_only_the_first_sector_may_be_spoiled_in_a_new_one(lib: Library) -> None:
    """The first record of all may have been cut; it was in no other sector."""
    flash = Listed()
    put(flash, 0, 0, spoiled(record(1, state(1))))
    journal, loaded = opened(lib, flash)
    assert (loaded, journal.skipped) == (None, 0)
    for sector in (1, 2, 3):
        flash = Listed()
        put(flash, sector, 0, b"\x00")
        with pytest.raises(lib["journal"].DamagedError) as raised:
            opened(lib, flash)
        assert raised.type.__name__ == "DamagedError"


def test_a_record_of_another_firmware_is_left_alone(lib: Library) -> None:
    flash = Listed()
    put(flash, 0, 0, record(1, state(1)))
    put(flash, 0, 1, record(2, state(2, 60)))
    with pytest.raises(lib["journal"].StrangeError):
        opened(lib, flash)
    assert not flash.done


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bad", "deaf"])
def test_a_slot_that_does_not_take_it_is_left_out(lib: Library, kind: str) -> None:
    flash = Listed()
    journal = fresh(lib, flash)
    journal.append(state(1))
    getattr(flash, kind).add(0)
    journal.append(state(2))
    assert flash.done[2:] == [
        *(("program", slot * SLOT) for slot in (1, 2, 3)), ("erase", 1), ("program", SECTOR),
    ]  # fmt: skip
    assert (journal.dead, journal.erases, journal._sequence) == (3, 2, 10)  # two leaps of four
    assert flash.memory[SECTOR : SECTOR + 60] == record(10, state(2), erases=2)
    getattr(flash, kind).clear()
    assert opened(lib, flash)[1] == state(2)


@pytest.mark.parametrize("left", range(4))
def test_a_sector_that_cannot_be_erased_is_left_out(lib: Library, left: int) -> None:
    flash = Listed()
    journal = fresh(lib, flash)
    for n in range(4):
        journal.append(state(n))
    put(flash, 1, left, b"\x00")
    flash.deaf.add(1)
    journal.append(state(4))
    assert flash.done[-3:] == [("erase", 1), ("erase", 2), ("program", 2 * SECTOR)]
    assert (journal.dead, journal.erases) == (1, 3)


def test_when_nothing_takes_it_the_old_state_holds(lib: Library) -> None:
    """And the sector that has it is never erased, however often it is tried."""
    flash = Listed()
    journal = fresh(lib, flash)
    for n in range(6):
        journal.append(state(n))
    before = bytes(flash.memory)
    flash.bad |= {0, 1, 2, 3}
    for _ in range(3):
        with pytest.raises(OSError) as raised:
            journal.append(state(9))
        assert raised.value.args == (5,)
    assert ("erase", 1) not in flash.done[len(flash.done) - 8 :]
    assert flash.memory == before
    flash.bad.clear()
    assert opened(lib, flash)[1] == state(5)


@pytest.mark.parametrize("loaded", [False, True])
def test_the_sector_that_holds_is_passed_over(lib: Library, loaded: bool) -> None:
    """Where no slot takes anything, and erasing works: it is not erased, the one behind it is."""
    flash = Listed(sectors=3)
    journal = fresh(lib, flash)
    for n in range(8):
        journal.append(state(n))
    if loaded:
        journal = opened(lib, flash)[0]
    genuine = flash.program
    flash.done.clear()
    tried: list[int] = []

    def fails(address: int, data: bytearray) -> None:
        tried.append(address)
        raise OSError(5)

    flash.program = fails  # type: ignore[method-assign]
    with pytest.raises(OSError):
        journal.append(state(8))
    slots = [2 * SECTOR + n * SLOT for n in range(4)]
    assert tried == [*slots, *(n * SLOT for n in range(4)), *slots[:2]]
    assert flash.done == [("erase", 2), ("erase", 0), ("erase", 2)]
    flash.program = genuine  # type: ignore[method-assign]
    assert opened(lib, flash)[1] == state(7)


def test_the_first_record_goes_to_whatever_sector_can_be_erased(lib: Library) -> None:
    flash = Listed()
    journal = fresh(lib, flash)
    flash.bad |= {0, 1, 2}
    journal.append(state(1))
    assert flash.done[-1] == ("program", 3 * SECTOR) and journal.dead == 3


def test_how_long_an_append_tries(lib: Library) -> None:
    """Two sectors' slots, and two more; every one that failed counts."""
    flash = Listed(sectors=8)
    journal = fresh(lib, flash)
    journal.append(state(1))
    genuine, tried = flash.program, []

    def fails(address: int, data: bytearray) -> None:
        tried.append(address)
        if len(tried) < most:
            raise OSError(5)
        genuine(address, data)

    flash.program = fails  # type: ignore[method-assign]
    most = 10
    journal.append(state(2))
    assert tried == [*(n * SLOT for n in range(1, 11))]
    assert journal.dead == 9
    tried, most = [], 99
    with pytest.raises(OSError):
        journal.append(state(3))
    assert len(tried) == 10 and journal.dead == 19


# -- replacing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", range(1, 14))
def test_what_is_replaced_is_nowhere(lib: Library, before: int) -> None:
    """It fills its sector, goes twice into the next (not the first), and all others are erased."""
    flash = Listed(sectors=4)
    journal = fresh(lib, flash)
    for n in range(before):
        journal.append(b"secret".ljust(PAYLOAD, bytes((n,))))
    flash.done.clear()
    home = (before - 1) // 4 % 4
    first = (before - 1) // 4 == 3
    journal.replace(state(1))
    there = 1 if first or home == 3 else home + 1
    assert journal._sector == there and journal._next == 2
    assert b"secret" not in flash.memory
    programs = [address for what, address in flash.done if what == "program"]
    assert programs[-2:] == [there * SECTOR, there * SECTOR + SLOT]
    written = [sector for sector in range(4) if flash.memory[sector * SECTOR] != 0xFF]
    assert written == [there]
    assert opened(lib, flash)[1] == state(1)


def test_a_sector_with_one_old_record_is_erased_too(lib: Library) -> None:
    flash = Listed()
    put(flash, 3, 0, record(1, state(7)))
    put(flash, 0, 0, record(2, state(8)))
    journal = opened(lib, flash)[0]
    journal.replace(state(1))
    assert state(7) not in flash.memory and state(8) not in flash.memory


def test_replacing_erases_only_what_is_written(lib: Library) -> None:
    flash = Listed(sectors=6)
    journal = fresh(lib, flash)
    journal.append(state(1))
    flash.done.clear()
    journal.replace(state(2))
    assert flash.done == [
        *(("program", slot * SLOT) for slot in (1, 2, 3)), ("erase", 1), ("program", SECTOR),
        ("program", SECTOR + SLOT), ("erase", 0),
    ]  # fmt: skip
    flash.bad.add(1)
    journal = opened(lib, flash)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flash, "program", lambda *_: None)
        with pytest.raises(OSError):
            journal.replace(state(3))


def test_an_old_sector_that_cannot_be_erased_is_counted(lib: Library) -> None:
    flash = Listed()
    journal = fresh(lib, flash)
    journal.append(state(1))
    flash.done.clear()
    genuine = flash.erase

    def erase(sector: int) -> None:
        if sector == 0:
            raise OSError(5)
        genuine(sector)

    flash.erase = erase  # type: ignore[method-assign]
    journal.replace(state(2))
    assert (journal.dead, journal.erases) == (1, 3)
    assert opened(lib, flash)[1] == state(2)


def test_a_blank_sector_that_is_given_is_read_whole(lib: Library) -> None:
    """Its last slot tells as well that it is not erased."""
    flash = Listed()
    journal = fresh(lib, flash)
    put(flash, 0, 3, b"\x00")
    flash.deaf.add(0)
    journal.append(state(1))
    assert flash.done == [("erase", 0), ("erase", 1), ("program", SECTOR)]
