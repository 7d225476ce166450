"""The log of keyed records, byte by byte: what is written where, what is erased and voided when,
and what a start takes for whole. `test_records.py` cuts the power."""

from __future__ import annotations

import hashlib
from binascii import crc32
from typing import Any

import pytest

from tallystick.tools.campaign.proof.library import Library

PAGE, PAGES, SECTOR = 256, 16, 4096
DELETED, NOTHING = 0x8000, 0xFFFF


class Listed:
    """A flash in RAM that lists what is done to it, by page and sector. bad: sectors that take
    nothing and say so; deaf: pages that take nothing and say nothing."""

    SECTOR, UNIT = SECTOR, PAGE

    def __init__(self, sectors: int = 12) -> None:
        self.SECTORS = sectors
        self.memory = bytearray(b"\xff" * sectors * SECTOR)
        self.done: list[str] = []
        self.bad: set[int] = set()
        self.deaf: set[int] = set()

    def read(self, address: int, buffer: bytearray) -> None:
        assert 0 <= address <= len(self.memory) - len(buffer)
        buffer[:] = self.memory[address : address + len(buffer)]

    def program(self, address: int, data: bytes) -> None:
        assert address % PAGE == len(data) % PAGE == 0
        assert address // SECTOR == (address + len(data) - 1) // SECTOR
        page = address // PAGE
        kind = "void" if not any(data) else "write"
        self.done.append(f"{kind} {page // PAGES}.{page % PAGES}")
        if address // SECTOR in self.bad:
            raise OSError(5)
        for n, byte in enumerate(data):
            if page + n // PAGE not in self.deaf:
                self.memory[address + n] &= byte

    def erase(self, sector: int) -> None:
        self.done.append(f"erase {sector}")
        if sector in self.bad:
            raise OSError(5)
        if sector * PAGES not in self.deaf:
            self.memory[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR

    def put(self, sector: int, page: int, content: bytes) -> None:
        at = sector * SECTOR + page * PAGE
        self.memory[at : at + len(content)] = content

    def page(self, sector: int, page: int) -> bytes:
        at = sector * SECTOR + page * PAGE
        return bytes(self.memory[at : at + PAGE])


def record(sequence: int, key: int, payload: bytes, floor: int = 0, size: int = -1) -> bytearray:
    size = len(payload) if size < 0 else size
    body = sequence.to_bytes(4, "little") + floor.to_bytes(4, "little") + key.to_bytes(2, "little")
    body += size.to_bytes(2, "little") * 2 + payload
    check = crc32(body).to_bytes(4, "little") + hashlib.sha256(body).digest()[:4]
    whole = bytearray(body + check)
    return whole.ljust(-(-len(whole) // PAGE) * PAGE, b"\xff")


def spoiled(content: bytearray, *bits: int) -> bytearray:
    for bit in bits or (14 * 8, 15 * 8):
        content[bit >> 3] ^= 1 << (bit & 7)
    return content


@pytest.fixture(scope="module")
def lib() -> Library:
    return Library()


@pytest.fixture
def flash() -> Listed:
    return Listed()


def opened(lib: Library, flash: Listed) -> Any:
    log = lib["records"].Records(flash)
    log.there = log.load()
    return log


def everything(log: Any) -> dict[int, bytes]:
    return {key: log.get(key) for key in log.keys(0, NOTHING)}


@pytest.mark.parametrize("size", [0, 1, 233, 234, 235, 489, 490])
def test_every_byte_of_a_record(lib: Library, flash: Listed, size: int) -> None:
    log = opened(lib, flash)
    assert log.there is False
    payload = bytes(n & 0xFF for n in range(size))
    log.put(0x1234, payload)
    log.put(0, b"x")
    expected = record(1, 0x1234, payload) + record(2, 0, b"x")
    assert flash.memory[: len(expected)] == expected
    pages = 1 if size <= 234 else 2
    assert flash.done == ["erase 0", "write 0.0", f"write 0.{pages}"]
    again = opened(lib, flash)
    assert again.there is True and everything(again) == {0: b"x", 0x1234: payload}
    assert (again._sequence, again._floor, again._newest) == (2, 0, pages)


def test_a_deletion_is_a_record(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(7, b"seven")
    log.delete(7)
    log.delete(7)
    log.delete(8)
    assert flash.done == ["erase 0", "write 0.0", "write 0.1"]
    assert flash.page(0, 1) == record(2, 7, b"", size=DELETED)
    assert log.get(7) is None and log.peek(7, 2) is None and log.keys(0, 100) == []
    assert everything(opened(lib, flash)) == {}


@pytest.mark.parametrize("size", [491, 1000, 2816])
def test_a_long_record_begins_a_sector_and_a_short_one_follows(
    lib: Library, flash: Listed, size: int
) -> None:
    log = opened(lib, flash)
    log.put(1, b"a")
    log.put(2, b"l" * size)
    log.put(3, b"b")
    pages = -(-(size + 22) // PAGE)
    assert flash.done == [
        "erase 0", "write 0.0", "erase 1", "write 1.0", f"write 1.{pages}", f"write 1.{pages + 1}",
    ]  # fmt: skip
    assert flash.page(1, pages) == record(3, NOTHING, b"", size=DELETED)
    log.put(4, b"m" * 491)
    assert flash.done[6:8] == ["erase 2", "write 2.0"]
    assert everything(opened(lib, flash)) == {1: b"a", 2: b"l" * size, 3: b"b", 4: b"m" * 491}


def test_a_long_record_in_a_new_flash_needs_no_second_sector(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(2, b"l" * 600)
    assert flash.done == ["erase 0", "write 0.0", "write 0.3"]


def test_what_is_longer_than_the_longest(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"a")
    done = list(flash.done)
    with pytest.raises(OSError) as raised:
        log.put(1, b"x" * 2817)
    assert raised.value.args == (28,) and flash.done == done and log.get(1) == b"a"


def test_a_record_does_not_reach_into_the_next_sector(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for n in range(15):
        log.put(n, b"p")
    log.put(20, b"q" * 300)
    assert flash.done[-2:] == ["erase 1", "write 1.0"]
    log = opened(lib, flash)
    assert log.get(20) == b"q" * 300 and log.get(14) == b"p"


def test_a_full_sector_is_followed_by_the_next(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for n in range(18):
        log.put(n, b"p%d" % n)
    assert flash.done[-4:] == ["write 0.15", "erase 1", "write 1.0", "write 1.1"]


def test_which_keys_there_are(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for key in (9, 3, 5, 65534):
        log.put(key, b"value %d" % key)
    assert (
        log.keys(3, 9) == [3, 5] and log.keys(4, 10) == [5, 9] and log.keys(0, 65535)[-1] == 65534
    )
    assert bytes(log.peek(5, 7)) == b"value 5" and bytes(log.peek(5, 2)) == b"va"
    assert log.get(4) is None and log.peek(4, 1) is None


# -- what a start makes of it ----------------------------------------------------------------------


def test_one_bit_is_mended_and_two_are_not(lib: Library) -> None:
    for size in (0, 20):
        whole = record(2, 7, b"n" * size, floor=1)
        end = 14 + size
        parts = [(0, 64), (64, 80), (80, 96), (96, 112), (112, end * 8), (end * 8, end * 8 + 32),
                 (end * 8 + 32, end * 8 + 64)]  # fmt: skip
        for begin, stop in parts:
            for bit in {*range(begin, stop, 13), begin, stop - 1} if begin < stop else ():
                flash = Listed()
                flash.put(0, 0, record(1, 7, b"old"))
                flash.put(0, 1, spoiled(bytearray(whole), bit))
                log = opened(lib, flash)
                assert (log.get(7), log._sequence) == (b"n" * size, 2), (size, bit)
                if not 80 <= bit < 112:
                    other = begin if bit != begin else stop - 1
                    flash.put(0, 1, spoiled(bytearray(whole), bit, other))
                    assert opened(lib, flash).get(7) == b"old", (size, bit, other)


def test_two_bits_of_the_digest_in_two_bytes(lib: Library, flash: Listed) -> None:
    flash.put(0, 0, record(1, 7, b"old"))
    flash.put(0, 1, spoiled(record(2, 7, b"new"), 21 * 8 + 7, 22 * 8))
    assert opened(lib, flash).get(7) == b"old"


@pytest.mark.parametrize("size", [1010, 1011, 2000])
def test_a_long_record_has_no_bit_mended_but_in_its_check(
    lib: Library, flash: Listed, size: int
) -> None:
    """Beyond four pages the search would be long."""
    flash.put(0, 0, spoiled(record(1, 7, b"l" * size), 200))
    flash.put(1, 0, record(2, 8, b"short"))
    assert everything(opened(lib, flash)).get(7) == (b"l" * size if size == 1010 else None)
    flash.put(0, 0, spoiled(record(1, 7, b"l" * size), (14 + size) * 8))
    assert opened(lib, flash).get(7) == b"l" * size


@pytest.mark.parametrize("which", [0, 1])
def test_a_size_is_there_twice(lib: Library, flash: Listed, which: int) -> None:
    """One of them may be wrong by a bit, also by one that makes it too long."""
    for bit in range(16):
        flash.put(0, 0, spoiled(record(1, 7, b"seven"), (10 + 2 * which) * 8 + bit))
        log = opened(lib, flash)
        assert log.get(7) == b"seven" and log._sequence == 1, bit


@pytest.mark.parametrize("place", [10, 12])
def test_a_size_of_a_long_record_is_there_twice_too(
    lib: Library, flash: Listed, place: int
) -> None:
    """Where no bit is looked for."""
    for bit in range(12):
        flash.put(0, 0, record(1, 7, b"l" * 2000))
        flash.put(0, 0, spoiled(record(1, 7, b"l" * 2000)[:PAGE], place * 8 + bit))
        assert opened(lib, flash).get(7) == b"l" * 2000, bit


@pytest.mark.parametrize("size", [2816, 2817])
def test_a_record_that_is_too_long_is_none(lib: Library, flash: Listed, size: int) -> None:
    flash.put(0, 0, record(1, 7, b"l" * size))
    flash.put(1, 0, record(2, 8, b"short"))
    assert (opened(lib, flash).get(7) is None) is (size > 2816)


@pytest.mark.parametrize("page", [14, 15])
def test_a_record_that_would_leave_its_sector_is_none(
    lib: Library, flash: Listed, page: int
) -> None:
    flash.put(0, 0, record(1, 8, b"short"))
    flash.put(0, page, record(2, 7, b"l" * 300))
    assert (opened(lib, flash).get(7) is None) is (page == 15)


def test_the_newest_of_a_key_counts_wherever_it_is(lib: Library, flash: Listed) -> None:
    flash.put(5, 0, record(0x01000009, 1, b"newest"))
    flash.put(5, 1, record(0x0100000A, 2, b"", size=DELETED))
    flash.put(4, 0, record(0x00FFFFFE, 1, b"older"))
    flash.put(4, 1, record(0x00FFFFFF, 2, b"gone"))
    flash.put(4, 3, record(0x01000000, 3, b"three"))
    log = opened(lib, flash)
    assert everything(log) == {1: b"newest", 3: b"three"}
    assert (log._ring, log._next, log._sequence) == ([4, 5], 2, 0x0100000A)
    log.settle()
    assert flash.page(5, 4) == record(0x0100000B, 2, b"", size=DELETED)


def test_below_the_floor_nothing_counts(lib: Library, flash: Listed) -> None:
    flash.put(0, 0, record(5, 1, b"below"))
    flash.put(0, 1, record(6, 2, b"at it"))
    flash.put(1, 0, record(2, 3, b"old"))
    flash.put(2, 0, record(7, 4, b"new", floor=6))
    flash.put(3, 0, record(1, 5, b"older", floor=9))
    log = opened(lib, flash)
    assert everything(log) == {2: b"at it", 4: b"new"}
    assert (log._ring, log._floor) == ([0, 2], 6)
    log.put(9, b"x")
    assert flash.page(2, 4) == record(9, 9, b"x", floor=6)


def test_the_newest_may_begin_the_first_sector(lib: Library, flash: Listed) -> None:
    """Page 0 is a page."""
    flash.put(0, 0, record(9, 1, b"newest", floor=4))
    flash.put(11, 0, record(5, 2, b"older"))
    log = opened(lib, flash)
    assert (log._newest, log._sequence, log._floor) == (0, 9, 4)


def test_what_was_read_is_settled_before_anything_is_taken_away(
    lib: Library, flash: Listed
) -> None:
    flash.put(0, 0, record(9, 1, b"one"))
    log = opened(lib, flash)
    log.delete(1)
    assert flash.done[0] == "void 0.1" and flash.done[-1] == "write 0.4"


def test_a_copy_of_what_cannot_be_read_is_none(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    flash.put(0, 0, b"\0" * PAGE)
    with pytest.raises(OSError) as raised:
        log._copy(0)
    assert raised.value.args == (5,)


def test_a_sector_without_a_record_leaves_the_floor(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log._floor = 77
    assert log._first_sequence(3) == 77


def test_every_other_sector_is_free(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    assert log._free_sectors() == list(range(12))
    log.put(1, b"a")
    assert log._free_sectors() == list(range(1, 12))
    log._ring, log._bad = [7, 9], [0, 11]
    assert log._free_sectors() == [10, 1, 2, 3, 4, 5, 6, 8]


def test_a_floor_is_of_four_bytes(lib: Library, flash: Listed) -> None:
    flash.put(0, 0, record(0x01000003, 1, b"below"))
    flash.put(1, 0, record(0x01000009, 2, b"new", floor=0x01000005))
    log = opened(lib, flash)
    assert (log._floor, everything(log)) == (0x01000005, {2: b"new"})


def test_nothing_is_moved_before_what_was_read_is_settled(lib: Library, flash: Listed) -> None:
    filled(lib, flash, 4, 0).put(2, b"a")
    flash.done.clear()
    log = opened(lib, flash)
    log.put(3, b"b")
    assert flash.done[0] == "void 4.1"


def test_a_scrub_finds_what_is_in_the_first_page_only(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    flash.put(3, 0, b"\0")
    log.scrub()
    assert flash.done[2:] == ["erase 3"]


def test_a_value_that_cannot_be_read_any_more(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    log.put(2, b"two")
    flash.put(0, 0, b"\0" * PAGE)
    with pytest.raises(OSError) as raised:
        log.get(1)
    assert raised.value.args == (5,)
    log = opened(lib, flash)
    flash.put(0, 1, b"\0" * PAGE)
    with pytest.raises(OSError):
        log.settle()


@pytest.mark.parametrize(
    ("sector", "page", "new"),
    [(0, 0, True), (0, 1, True), (0, 2, False), (2, 1, True), (2, 2, False), (3, 0, False),
     (11, 0, False), (11, 15, False), (0, 15, False)],
)  # fmt: skip
def test_what_may_be_a_first_record_that_was_torn(
    lib: Library, flash: Listed, sector: int, page: int, new: bool
) -> None:
    flash.put(sector, page, b"\x7f")
    if new:
        assert opened(lib, flash).there is False
    else:
        with pytest.raises(lib["records"].DamagedError):
            opened(lib, flash)
    flash.put(1, 0, record(1, 0, b"first"))
    assert opened(lib, flash).at_first() is new
    flash.put(1, 0, record(2, 0, b"second"))
    assert opened(lib, flash).at_first() is False


# -- settling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "before", "expected"),
    [
        (5, 1, ["void 0.1", "void 0.2", "void 1.0", "void 2.0", "void 3.0", "write 0.3"]),
        (300, 1, ["void 0.2", "void 0.3", "void 1.0", "void 2.0", "void 3.0", "write 0.4"]),
        (5, 18, ["void 1.2", "void 1.3", "void 2.0", "void 3.0", "void 4.0", "write 1.4"]),
        (5, 14, ["void 0.14", "void 0.15", "void 1.0", "void 2.0", "void 3.0", "erase 1",
                 "write 1.0"]),
        (5, 15, ["void 0.15", "void 1.0", "void 2.0", "void 3.0", "erase 1", "write 1.0"]),
        (5, 16, ["void 1.0", "void 2.0", "void 3.0", "erase 1", "write 1.0"]),
    ],
)  # fmt: skip
def test_what_settling_voids_and_writes(
    lib: Library, flash: Listed, size: int, before: int, expected: list[str]
) -> None:
    log = opened(lib, flash)
    for n in range(before):
        log.put(n, b"v" * size)
    flash.done.clear()
    log = opened(lib, flash)
    log.settle()
    assert flash.done == expected
    assert log.get(before - 1) == b"v" * size and log.failures == 0
    log.settle()
    assert flash.done == expected
    sector, page = map(int, expected[-1].split()[1].split("."))
    assert flash.page(sector, page) == record(before + 1, before - 1, b"v" * size)[:PAGE]
    assert log._index[before - 1] == sector * PAGES + page


def test_a_deletion_is_settled_as_one(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    log.delete(1)
    log = opened(lib, flash)
    log.settle()
    assert log.keys(0, 100) == [] and flash.page(0, 4) == record(3, 1, b"", size=DELETED)
    assert everything(opened(lib, flash)) == {}


def test_what_is_torn_behind_the_newest_is_voided_too(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    flash.put(0, 3, b"\x7f")
    flash.done.clear()
    log = opened(lib, flash)
    log.put(2, b"two")
    voids = [f"void 0.{n}" for n in range(1, 6)]
    assert flash.done == [*voids, "void 1.0", "void 2.0", "void 3.0", "write 0.6", "write 0.7"]


def test_pages_that_cannot_be_voided_are_counted(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for n in range(16):
        log.put(n, b"v")
    flash.bad |= {2, 3}
    log = opened(lib, flash)
    log.settle()
    assert log.failures == 2 and log.get(15) == b"v"


# -- room ------------------------------------------------------------------------------------------


def filled(lib: Library, flash: Listed, sectors: int, living: int) -> Any:
    """So many sectors of the same key but for `living` others, the oldest."""
    log = opened(lib, flash)
    for n in range(living):
        log.put(1000 + n, b"living %d" % n)
    for _ in range(sectors * PAGES - living):
        log.put(1, b"v")
    return log


def test_no_more_is_moved_than_is_needed(lib: Library, flash: Listed) -> None:
    log = filled(lib, flash, 4, 3)
    assert log._ring == [0, 1, 2, 3] and log._free() == 8
    flash.done.clear()
    log.put(2, b"a")
    assert flash.done == ["erase 4", "write 4.0"]
    log.put(2, b"b")  # two living records are moved
    assert flash.done[2:] == ["write 4.1", "write 4.2", "write 4.3"]
    assert flash.page(4, 1) == record(66, 1000, b"living 0")
    log.put(2, b"c")  # the last one, and the sector is none any more
    assert flash.done[5:] == ["write 4.4", "write 4.5", "write 4.6"]
    assert flash.page(4, 5) == record(70, NOTHING, b"", floor=17, size=DELETED)
    assert (log._ring, log._floor) == ([1, 2, 3, 4], 17)
    log.put(2, b"d")
    assert flash.done[8:] == ["write 4.7"]
    assert {key: log.get(key) for key in (1000, 1001, 1002)} == {
        1000 + n: b"living %d" % n for n in range(3)
    }
    assert everything(opened(lib, flash)) == everything(log)


def test_the_only_sector_is_not_given_up(lib: Library) -> None:
    flash = Listed(sectors=3)
    log = opened(lib, flash)
    for n in range(16):
        log.put(n, b"v")
    assert flash.done[-1] == "write 0.15" and log._floor == 0
    log.put(1, b"w")
    assert log._ring == [0, 1]


def test_of_two_sectors_the_older_is_given_up(lib: Library) -> None:
    flash = Listed(sectors=9)
    log = filled(lib, flash, 1, 0)
    log.put(1, b"v")
    assert (log._ring, log._floor) == ([0, 1], 0)
    log.put(1, b"v")
    assert (log._ring, log._floor) == ([1], 17)
    assert flash.done[-2:] == ["write 1.1", "write 1.2"]


@pytest.mark.parametrize(("home", "behind"), [(5, (6, 7)), (10, (11, 0)), (11, (0, 1))])
def test_the_next_sector_is_the_one_behind_the_newest(
    lib: Library, flash: Listed, home: int, behind: tuple[int, int]
) -> None:
    flash.put(home, 0, record(9, 1, b"one"))
    log = opened(lib, flash)
    log.settle()
    for sector in behind:
        flash.done.clear()
        log.put(2, b"l" * 500)
        assert flash.done[0] == f"erase {sector}"


def test_a_floor_that_cannot_be_written_is_none(lib: Library, flash: Listed) -> None:
    log = filled(lib, flash, 4, 0)
    log.put(2, b"a")
    flash.bad |= set(range(12))
    before = (log._floor, list(log._ring), everything(log))
    with pytest.raises(OSError):
        log.put(2, b"x")
    assert (log._floor, log._ring, everything(log)) == before


def test_a_start_makes_room_too(lib: Library, flash: Listed) -> None:
    log = filled(lib, flash, 4, 0)
    log.put(2, b"a")
    log = opened(lib, flash)
    log.settle()
    assert (log._ring, log._floor) == ([1, 2, 3, 4], 17)


def test_a_start_without_room_is_told_by_a_count(lib: Library, flash: Listed) -> None:
    filled(lib, flash, 1, 0)
    log = opened(lib, flash)
    log._make_room = lambda: (_ for _ in ()).throw(OSError(5))
    log.settle()
    assert log.failures == 1 and log._settled


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bad", "deaf"])
def test_pages_that_fail(lib: Library, flash: Listed, kind: str) -> None:
    """They are voided; after two the sector is at its end."""
    log = opened(lib, flash)
    log.put(1, b"one")
    if kind == "bad":
        flash.bad.add(0)
    else:
        flash.deaf |= {1, 2}
    log.put(2, b"two")
    assert flash.done[2:] == [
        "write 0.1", "void 0.1", "write 0.2", "void 0.2", "erase 1", "write 1.0",
    ]  # fmt: skip
    failures = {"bad": 4, "deaf": 2}[kind]
    assert (log.failures, log.get(2), log._sequence) == (failures, b"two", 4)
    flash.bad.clear()
    assert everything(opened(lib, flash)) == {1: b"one", 2: b"two"}


def test_a_second_page_that_does_not_take_it(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    flash.deaf.add(2)
    log.put(2, b"t" * 400)
    assert flash.done[2:] == ["write 0.1", "void 0.1", "void 0.2", "write 0.3"]
    assert log.get(2) == b"t" * 400


def test_the_first_record_is_the_first_wherever_it_lands(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    flash.deaf |= {0, 1}
    log.put(1, b"one")
    assert log._sequence == 1 and flash.done[-1] == "write 1.0"


def test_how_often_it_is_tried(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    flash.deaf |= {n for n in range(1, 12 * PAGES) if n % PAGES}
    genuine = flash.program
    flash.program = lambda address, data: (  # type: ignore[method-assign]
        flash.done.append("try") if any(data) else genuine(address, data)
    )
    with pytest.raises(OSError) as raised:
        log.put(2, b"two")
    assert raised.value.args == (5,)
    assert flash.done.count("try") == 8 and log.failures == 8
    assert log.get(1) == b"one" and log.get(2) is None


def test_sectors_that_cannot_be_erased_are_passed_over(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for n in range(16):
        log.put(n, b"v")
    flash.put(2, 0, b"\0")
    flash.bad.add(1)
    flash.deaf.add(2 * PAGES)
    log.put(1, b"w")
    assert flash.done[-4:] == ["erase 1", "erase 2", "erase 3", "write 3.0"]
    assert (log.failures, log._bad, log._ring, log._free()) == (2, [1, 2], [0, 3], 8)
    flash.bad |= set(range(4, 12))
    for n in range(15):
        log.put(n, b"u")
    with pytest.raises(OSError) as raised:
        log.put(1, b"x")
    assert raised.value.args == (28,)
    assert log.get(1) == b"u"


def test_the_short_one_after_a_long_one_may_fail(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    flash.deaf |= {n for n in range(12 * PAGES) if n % PAGES}
    genuine, tried = flash.program, []

    def program(address: int, data: bytes) -> None:
        tried.append(address)
        if len(tried) > 1:
            raise OSError(5)
        flash.deaf.clear()
        genuine(address, data)

    flash.program = program  # type: ignore[method-assign]
    log.put(1, b"l" * 600)
    assert log.get(1) == b"l" * 600 and log.failures > 0


def test_one_that_does_not_follow_is_counted(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log._append = lambda *_: (_ for _ in ()).throw(OSError(5))
    log._follow()
    assert log.failures == 1


# -- beginning again -------------------------------------------------------------------------------


def test_a_restart_and_a_scrub(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    for n in range(20):
        log.put(n, b"secret %d" % n)
    flash.done.clear()
    paused: list[int] = []
    log.restart(3, b"clean")
    assert flash.done == ["erase 2", "write 2.0"]
    assert flash.page(2, 0) == record(21, 3, b"clean", floor=21)
    assert (log._ring, log._floor, everything(log)) == ([2], 21, {3: b"clean"})
    assert everything(opened(lib, flash)) == {3: b"clean"}
    log.scrub(lambda: paused.append(1))
    assert flash.done[2:] == ["erase 0", "erase 1"] and len(paused) == 12
    assert b"secret" not in flash.memory
    log.put(4, b"more")
    assert flash.done[4:] == ["write 2.1"]


def test_a_restart_that_fails_changes_nothing(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    flash.bad |= set(range(1, 12))
    before = (log._floor, everything(log))
    with pytest.raises(OSError):
        log.restart(3, b"clean")
    assert (log._floor, everything(log)) == before


def test_a_scrub_goes_on_behind_what_cannot_be_erased(lib: Library, flash: Listed) -> None:
    log = opened(lib, flash)
    log.put(1, b"one")
    for sector in (3, 5, 11):
        flash.put(sector, 7, b"\0")
    flash.bad.add(3)
    with pytest.raises(OSError) as raised:
        log.scrub()
    assert raised.value.args == (5,)
    assert flash.done[2:] == ["erase 3", "erase 5", "erase 11"]
    flash.bad.clear()
    log.scrub()
    assert flash.done[5:] == ["erase 3"] and log.get(1) == b"one"
    log.scrub()
    assert len(flash.done) == 6


@pytest.mark.parametrize("page", range(16))
def test_a_sector_with_any_page_left_is_not_erased(lib: Library, flash: Listed, page: int) -> None:
    log = opened(lib, flash)
    flash.put(0, page, b"\0")
    flash.deaf.add(0)
    log.put(1, b"one")
    assert flash.done == ["erase 0", "erase 1", "write 1.0"]
