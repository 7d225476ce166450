"""Keyed records on NOR flash: a log over a ring of sectors that no power cut can hurt.

Every record is one change of one key, and one commit: it is there, or it is not. Records are
appended in whole pages of 256 bytes; the newest valid one of a key is its value. reader.md has
the argument; in short:

- A record counts when its CRC-32 and 4 bytes of its SHA-256 agree; one flipped bit is mended.
- Every record carries a floor: sequence numbers below it count for nothing. What is left of a
  sector that is being erased, or that cannot be erased any more, is below the floor long before, so
  nothing old comes back.
- The oldest sector is emptied by writing its living records anew, a few at every change, long
  before its space is needed. Deletions are records too and outlive what they delete, because
  sectors go in the order they came.
- After a start, the newest record may be one that was cut and reads as whole by luck, and one that
  reads as blank or spoiled may read as whole later: on the two pages after the newest, or at the
  beginning of the next sectors. `settle` programs all of these to zero and writes the newest record
  anew: nothing that could change its mind is left behind. It comes before the first answer that
  depends on what was read.
- A record of more than two pages begins a sector, so that its pages need not be settled, and a
  short one follows it, so that it is not the newest.

Record: sequence (4) ‖ floor (4) ‖ key (2) ‖ size, twice (2 × 2) ‖ payload ‖ CRC-32 (4) ‖ SHA-256,
first 4 bytes. All little endian. Bit 15 of the size marks a deletion.
"""

from binascii import crc32
from hashlib import sha256

from micropython import const

from lib.journal import DamagedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from typed.board import Flash
    from typed.kinds import Pause, Readable

PAGE = const(256)
LONGEST = const(2816)  # bytes of a payload
_HEAD = const(14)
_CHECK = const(8)
_DELETED = const(0x8000)
_NOTHING = const(0xFFFF)  # key of a record that only carries a floor
_RESERVE = const(8)  # sectors that are kept free
_MOVES = const(2)  # living records moved at every change while fewer are free
_ATTEMPTS = const(8)
_SHORT = const(2)  # pages of a record that may follow others in its sector
_AHEAD = const(3)  # free sectors whose beginning is settled: two may be at their end
_FIRST = const(2)  # pages of a sector that a first record may have been torn in
_FIRST_SECTORS = const(3)  # the later ones if those before are worn out; `settle` reaches beyond
_EIO = const(5)
_ENOSPC = const(28)


class Records:
    """Keys are 0..65534. One object owns the flash; `load` comes first."""

    def __init__(self, flash: "Flash") -> None:
        self._flash = flash
        self._pages = flash.SECTOR // PAGE
        self._page = bytearray(PAGE)
        self._blank = b"\xff" * PAGE
        self._index: "dict[int, int]" = {}  # key → page of its living record
        self._ring: "list[int]" = []  # sectors in use, the oldest first
        self._bad: "list[int]" = []  # sectors that cannot be erased
        self._next = 0  # next page of the newest sector
        self._sequence = 0
        self._floor = 0
        self._newest = -1  # page of the newest record
        self._settled = True
        self.failures = 0  # pages and sectors that failed since start

    # -- reading -------------------------------------------------------------------------------

    def load(self) -> bool:
        """Finds the living records. False: as from the factory. Raises DamagedError when nothing is
        whole.
        """
        ages = []
        for sector in range(self._flash.SECTORS):
            for record in self._in_sector(sector):
                ages.append((record[0], sector))
                break
        ages.sort()
        if not ages:
            if not self._no_more_than_first():
                raise DamagedError
            return False
        seen: "dict[int, int]" = {}
        for _, sector in reversed(ages):
            found = list(self._in_sector(sector))
            for sequence, floor, key, size, page in reversed(found):
                if self._newest < 0:
                    self._newest = page
                    self._sequence = sequence
                    self._floor = floor
                if sequence < self._floor:
                    continue
                if sector not in self._ring:
                    self._ring.insert(0, sector)
                if key not in seen:
                    seen[key] = -1 if size & _DELETED else page
        for key, page in seen.items():
            if page >= 0:
                self._index[key] = page
        self._next = self._last_written(self._ring[-1]) + 1
        self._settled = False
        return True

    def at_first(self) -> bool:
        """Nothing but a first record has been written so far. It may have been cut: then it reads
        as whole by luck, and `settle` cut in turn would leave something that looks damaged. Who
        needs nothing of it begins anew, with an object that has not loaded.
        """
        return self._sequence == 1 and self._no_more_than_first()

    def _no_more_than_first(self) -> bool:
        for sector in range(self._flash.SECTORS):
            if self._last_written(sector) >= (_FIRST if sector < _FIRST_SECTORS else 0):
                return False
        return True

    def _in_sector(self, sector: int) -> "Iterator[tuple[int, int, int, int, int]]":
        """(sequence, floor, key, size, page) of every whole record, in the order of pages."""
        page = 0
        while page < self._pages:
            number = sector * self._pages + page
            record = self._whole(number)
            if record is None:
                page += 1
                continue
            head = _parse(record)
            yield head + (number,)
            page += _pages_for(head[3] & ~_DELETED)

    def _whole(self, number: int) -> "bytearray | None":
        """The record that begins at a page, mended if need be, or None."""
        address = number * PAGE
        self._flash.read(address, self._page)
        first = int.from_bytes(self._page[10:12], "little")
        second = int.from_bytes(self._page[12:14], "little")
        for size in (first, second):
            end = _HEAD + (size & ~_DELETED)
            pages = _pages_for(size & ~_DELETED)
            if number % self._pages + pages > self._pages or size & ~_DELETED > LONGEST:
                continue
            record = bytearray(pages * PAGE)
            self._flash.read(address, record)
            record[10:14] = size.to_bytes(2, "little") * 2
            if _mended(record, end):
                return record
            if first == second:
                break
        return None

    def _last_written(self, sector: int) -> int:
        """The last page of a sector that is not blank, or -1."""
        for page in range(self._pages - 1, -1, -1):
            self._flash.read((sector * self._pages + page) * PAGE, self._page)
            if self._page != self._blank:
                return page
        return -1

    def get(self, key: int) -> "bytes | None":
        """The value of a key. Raises OSError when it can no longer be read."""
        if key not in self._index:
            return None
        record = self._whole(self._index[key])
        if record is None:
            raise OSError(_EIO)
        return bytes(record[_HEAD : _HEAD + _parse(record)[3]])

    def peek(self, key: int, size: int) -> "Readable | None":
        """First bytes (at most 200) of a value, unchecked, until the next call: for searching."""
        if key not in self._index:
            return None
        self._flash.read(self._index[key] * PAGE, self._page)
        return memoryview(self._page)[_HEAD : _HEAD + size]

    def keys(self, start: int, end: int) -> "list[int]":
        """Keys in start..end−1 that have a value, sorted."""
        return sorted([key for key in self._index if start <= key < end])

    # -- writing -------------------------------------------------------------------------------

    def put(self, key: int, payload: "Readable") -> None:
        """Gives a key a value, whole or not at all. Raises OSError: then nothing has changed."""
        self._prepare()
        self._index[key] = self._append(key, len(payload), payload)

    def delete(self, key: int) -> None:
        """Takes a key's value away, as `put`. Raises OSError: then nothing has changed."""
        if key in self._index:
            self._prepare()
            self._append(key, _DELETED, b"")
            del self._index[key]

    def restart(self, key: int, payload: "Readable") -> None:
        """As `put`, and in the same commit every other key loses its value. `settle` comes before
        it, `scrub` after it. Raises OSError: then nothing has changed.
        """
        floor = self._floor
        self._floor = self._sequence + 1
        try:
            self._open_sector()  # nothing old shares the sector, so that scrub reaches all of it
            page = self._append(key, len(payload), payload)
        except OSError:
            self._floor = floor
            raise
        self._index = {key: page}
        self._ring = [page // self._pages]

    def scrub(self, pause: "Pause | None" = None) -> None:
        """Erases whatever no living record is in. Raises OSError when a sector cannot be erased."""
        failed = False
        for sector in range(self._flash.SECTORS):
            if (
                sector not in self._ring
                and self._last_written(sector) >= 0
                and not self._erased(sector)
            ):
                failed = True
            if pause is not None:
                pause()
        if failed:
            raise OSError(_EIO)

    def _prepare(self) -> None:
        self.settle()
        self._make_room()

    def _make_room(self) -> None:
        moves = _MOVES
        while moves and self._free() < _RESERVE and len(self._ring) > 1:
            moves -= 1
            if not self._move_one():
                floor = self._floor
                self._floor = self._first_sequence(self._ring[1])
                try:
                    self._append(_NOTHING, _DELETED, b"")
                except OSError:
                    self._floor = floor
                    raise
                self._ring.pop(0)

    def _free(self) -> int:
        return self._flash.SECTORS - len(self._ring) - len(self._bad)

    def _move_one(self) -> bool:
        """Writes one living record of the oldest sector anew. False when there is none."""
        oldest = self._ring[0]
        for key, page in self._index.items():
            if page // self._pages == oldest:
                self._index[key] = self._copy(page)
                return True
        return False

    def _copy(self, page: int) -> int:
        record = self._whole(page)
        if record is None:
            raise OSError(_EIO)
        _, _, key, size = _parse(record)
        return self._append(key, size, record[_HEAD : _HEAD + (size & ~_DELETED)])

    def _first_sequence(self, sector: int) -> int:
        for record in self._in_sector(sector):
            return record[0]
        return self._floor

    def settle(self) -> None:
        """Before anything that was read is told to the outside, or changed: see above. Raises
        OSError.
        """
        if self._settled:
            return
        sector = self._ring[-1] * self._pages
        record = self._whole(self._newest)
        if record is None:
            raise OSError(_EIO)
        size = _parse(record)[3]
        after = self._newest + _pages_for(size & ~_DELETED)
        end = min(sector + self._next + _SHORT, sector + self._pages)
        for page in range(after, end):
            self._void(page)
        for free in self._free_sectors()[:_AHEAD]:
            self._void(free * self._pages)
        self._next = end - sector
        key = _parse(record)[2]
        page = self._copy(self._newest)
        if not size & _DELETED:
            self._index[key] = page
        self._settled = True
        try:
            self._make_room()  # a start takes pages, also when nothing is changed
        except OSError:
            self.failures += 1

    def _void(self, page: int) -> None:
        for i in range(PAGE):
            self._page[i] = 0
        try:
            self._flash.program(page * PAGE, self._page)
        except OSError:
            self.failures += 1

    def _append(self, key: int, size: int, payload: "Readable") -> int:
        """Writes a record and reads it back; the page where it begins. Raises OSError when none
        takes it.
        """
        length = size & ~_DELETED
        if length > LONGEST:
            raise OSError(_ENOSPC)
        pages = _pages_for(length)
        record = bytearray(b"\xff" * (pages * PAGE))
        end = _HEAD + length
        record[_HEAD:end] = payload
        record[8:10] = key.to_bytes(2, "little")
        record[10:14] = size.to_bytes(2, "little") * 2
        failed = 0
        while failed < _ATTEMPTS:
            begins = pages > _SHORT and self._next
            if not self._ring or begins or self._next + pages > self._pages:
                self._open_sector()
            page = self._ring[-1] * self._pages + self._next
            self._next += pages
            if self._newest >= 0 or not failed:
                self._sequence += 1  # the first record keeps number 1 wherever it lands: `at_first`
            record[:4] = self._sequence.to_bytes(4, "little")
            record[4:8] = self._floor.to_bytes(4, "little")
            body = memoryview(record)[:end]
            record[end : end + 4] = crc32(body).to_bytes(4, "little")
            record[end + 4 : end + 8] = sha256(body).digest()[:4]
            if self._written(page, record):
                self._newest = page
                if pages > _SHORT:
                    self._follow()
                return page
            for number in range(page, page + pages):
                self._void(number)
            self.failures += 1
            failed += 1
            if failed & 1 == 0:
                self._next = self._pages  # two pages in a row: the sector is at its end
        raise OSError(_EIO)

    def _follow(self) -> None:
        try:
            self._append(_NOTHING, _DELETED, b"")
        except OSError:
            self.failures += 1  # then the long record is copied at the next start

    def _written(self, page: int, record: bytearray) -> bool:
        try:
            self._flash.program(page * PAGE, record)
        except OSError:
            return False
        for at in range(0, len(record), PAGE):
            self._flash.read(page * PAGE + at, self._page)
            if self._page != record[at : at + PAGE]:
                return False
        return True

    def _open_sector(self) -> None:
        """Erases the next free sector, always immediately before its first use."""
        for sector in self._free_sectors():
            if self._erased(sector):
                self._ring.append(sector)
                self._next = 0
                return
            self._bad.append(sector)
            self.failures += 1
        raise OSError(_ENOSPC)

    def _free_sectors(self) -> "list[int]":
        """In the order in which they will be used."""
        count = self._flash.SECTORS
        last = self._ring[-1] if self._ring else count - 1
        order = [(last + 1 + n) % count for n in range(count)]
        return [one for one in order if one not in self._ring and one not in self._bad]

    def _erased(self, sector: int) -> bool:
        try:
            self._flash.erase(sector)
        except OSError:
            return False
        return self._last_written(sector) < 0


def _pages_for(length: int) -> int:
    return (_HEAD + length + _CHECK + PAGE - 1) // PAGE


def _parse(record: bytearray) -> "tuple[int, int, int, int]":
    """(sequence, floor, key, size)."""
    return (
        int.from_bytes(record[:4], "little"),
        int.from_bytes(record[4:8], "little"),
        int.from_bytes(record[8:10], "little"),
        int.from_bytes(record[10:12], "little"),
    )


def _mended(record: bytearray, end: int) -> bool:
    """True when a record is whole, or was but for one bit, which is mended."""
    body = memoryview(record)[:end]
    off = crc32(body) ^ int.from_bytes(record[end : end + 4], "little")
    if off and off & (off - 1):
        if bytes(body) == b"\xff" * end or end > PAGE * 4:
            return False
        from lib.mend import flipped_bit

        bit = flipped_bit(off, end)
        if bit < 0:
            return False
        record[bit >> 3] ^= 1 << (bit & 7)
    digest = sha256(body).digest()
    wrong = 0
    for i in range(4):
        wrong |= (record[end + 4 + i] ^ digest[i]) << 8 * i
    return not wrong or not (off or wrong & (wrong - 1))
