"""A log of whole states on NOR flash that no power cut can hurt.

Every record holds the whole state, so one record is one transaction. Records are appended in slots
of 256 bytes; the newest valid one is the state. When a sector is full the next one in the ring is
erased, always immediately before its first use. findings/powercuts.md has the argument; in short:

- A record is valid when its CRC-32 and 4 bytes of its SHA-256 agree; one flipped bit is mended.
- The slot after the last written one may have been touched by a program that was cut and still read
  as blank, and a record that was cut may read as valid now and not later. After a cold start the
  state therefore moves to a sector of its own: lib/handover.py.
- Slots behind the newest valid record that are neither blank nor valid may be records that were
  committed and have rotted. `skipped` counts those that may; the moving factor jumps over as many.

Record: sequence number (4) ‖ its complement (4) ‖ erases since the factory (4) ‖ payload ‖ CRC-32
(4) ‖ SHA-256, first 4 bytes. All little endian.
"""

from binascii import crc32
from hashlib import sha256

from micropython import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typed.board import Flash

SLOT = const(256)
_HEAD = const(12)
_CHECK = const(8)
_EIO = const(5)
_ROTTEN = const(8)  # bits
_THOUSAND = const(1024)


class DamagedError(Exception):
    """There are records, and none can be read. Nothing is written any more."""


class StrangeError(DamagedError):
    """The newest record is whole, and of a format that only another firmware knows. Nothing is
    written: what it says must not be lost.
    """


class Journal:
    """`payload` is the size of a state in bytes, at most 236; `older` are those of formats before,
    none of them larger. After `load` the attribute is the size of what was read, and of what is
    written until somebody says otherwise.
    """

    def __init__(self, flash: "Flash", payload: int, older: "tuple[int, ...]" = ()) -> None:
        unit = flash.UNIT
        self.flash = flash
        self.sectors = flash.SECTORS
        self.payload = payload
        self._sizes = (payload,) + older
        size = (_HEAD + payload + _CHECK + unit - 1) // unit * unit
        self._record = bytearray(size)
        self.seen = bytearray(size)
        self.blank = b"\xff" * size
        self.slots = flash.SECTOR // SLOT
        self.sequence = 0
        self.above = 0  # the highest sequence number of what was not read as the state
        self.sector = -1  # where the newest record is, -1: nowhere
        self.next = 0  # the next slot of that sector
        self.held = -1  # the sector with the newest whole record: not the same behind torn ones
        self.moved = -1  # a sector that a handover was finished to, lib/handover.py
        self.overlooked = 0  # sectors that are not read, a bit each
        self.erases = 0
        self.skipped = 0
        self.dead = 0  # slots and sectors that failed since start

    # -- reading -------------------------------------------------------------------------------

    def load(self) -> "bytes | None":
        """The newest state, or None for flash as it comes from the factory. After a cold start it
        may waver: `handover.find` comes before this, `handover.settle` after it. Raises
        DamagedError, StrangeError.
        """
        order = self.by_age()
        for sector in order:
            state = self._newest_in(sector)
            if state is not None:
                self.held = sector
                if self.sector == sector and self.next == self.slots:
                    self._count_first((sector + 1) % self.flash.SECTORS, order)
                return state
        # The first record of all may have been cut; it is in sector 0. Anything else was a state.
        for sector in range(1, self.flash.SECTORS):
            if self.last_written(sector) >= 0:
                raise DamagedError
        self.skipped = 0
        return None

    def _count_first(self, sector: int, order: "list[int]") -> None:
        """The only record of the next sector may have rotted so that nothing tells its age."""
        if sector not in order and not self.overlooked >> sector & 1:
            self.flash.read(sector * self.flash.SECTOR, self.seen)
            if self.seen != self.blank:
                self.skipped += self._was_whole()

    def by_age(self) -> "list[int]":
        """Sectors with readable sequence numbers, the newest first."""
        found = []
        # Most sectors of a young card are blank, and some flash can be told so at a glance.
        is_blank = getattr(self.flash, "is_blank", None)
        for sector in range(self.flash.SECTORS):
            if self.overlooked >> sector & 1 or is_blank and is_blank(sector):
                continue
            sequence = self._first_sequence(sector)
            if sequence >= 0:
                found.append((sequence, sector))
        found.sort()
        return [sector for _, sector in reversed(found)]

    def _first_sequence(self, sector: int) -> int:
        """The lowest sequence number in a sector, or -1. A spoiled first slot hides no sector."""
        for slot in range(self.slots):
            self.flash.read(sector * self.flash.SECTOR + slot * SLOT, self.seen)
            if self.seen == self.blank:
                continue
            # A flipped bit may be in the number itself: only the whole record tells.
            if _wrong_in_head(self.seen) == 0 or self.valid():
                return int.from_bytes(self.seen[:4], "little")
        return -1

    def last_written(self, sector: int) -> int:
        """The last slot of a sector that is not blank, or -1."""
        for slot in range(self.slots - 1, -1, -1):
            self.flash.read(sector * self.flash.SECTOR + slot * SLOT, self.seen)
            if self.seen != self.blank:
                return slot
        return -1

    def _newest_in(self, sector: int) -> "bytes | None":
        last = self.last_written(sector)
        for slot in range(last, -1, -1):
            self.flash.read(sector * self.flash.SECTOR + slot * SLOT, self.seen)
            if self.seen == self.blank:
                continue
            if not self.valid():
                self.skipped += self._was_whole()
                if _wrong_in_head(self.seen) == 0:
                    self._known(sector * self.flash.SECTOR + slot * SLOT)
                    # It may read as whole some day: what is written now is newer.
                    torn = int.from_bytes(self.seen[:4], "little")
                    self.above = max(self.above, torn)
                continue
            if self.sector < 0:
                self.sector = sector
                self.next = last + 1
            self.sequence = max(self.above, int.from_bytes(self.seen[:4], "little"))
            self.erases = int.from_bytes(self.seen[8:12], "little")
            return bytes(self.seen[_HEAD : _HEAD + self.payload])
        if self.sector < 0 and last >= 0:
            # Only spoiled records here: the state is in an older sector, writing goes on after
            # them.
            self.sector = sector
            self.next = last + 1
        return None

    def _known(self, address: int) -> None:
        """Raises StrangeError for a record that is whole at another size than ours."""
        from lib.strange import size

        if size(self.flash, address) >= 0:
            raise StrangeError

    def valid(self) -> bool:
        """True when the record in `_seen` is whole, or was but for one bit, which is mended. Its
        size is `payload` from there on.
        """
        # Most records that a cut left are told at once; the search for a flipped bit is long.
        wrong = _wrong_in_head(self.seen)
        if wrong & (wrong - 1):
            return False
        for size in self._sizes:
            if self._valid_as(size):
                self.payload = size
                return True
        return False

    def _valid_as(self, size: int) -> bool:
        end = _HEAD + size
        if self._check(size) == b"\xff" * _CHECK:
            return False
        body = memoryview(self.seen)[:end]
        off = crc32(body) ^ int.from_bytes(self.seen[end : end + 4], "little")
        if off and off & (off - 1):
            from lib.mend import flipped_bit

            bit = flipped_bit(off, end)
            if bit < 0:
                return False
            self.seen[bit >> 3] ^= 1 << (bit & 7)
        digest = sha256(body).digest()
        wrong = 0
        for i in range(4):
            wrong |= (self.seen[end + 4 + i] ^ digest[i]) << 8 * i
        return not wrong or not (off or wrong & (wrong - 1))

    def _was_whole(self) -> bool:
        """Whether the spoiled record in `_seen` may have been whole once. Most that a cut or a worn
        sector leaves cannot: nothing of their check is there, or number and complement disagree in
        more bits than rot would turn over."""
        wrong = _wrong_in_head(self.seen)
        bits = 0
        while wrong:
            wrong &= wrong - 1
            bits += 1
        return bits <= _ROTTEN and self._check(self._sizes[-1]) != b"\xff" * _CHECK

    def _check(self, size: int) -> bytearray:
        end = _HEAD + size
        return self.seen[end : end + _CHECK]

    # -- writing -------------------------------------------------------------------------------

    def append(self, state: "bytes | bytearray") -> None:
        """Writes a state and reads it back. Raises OSError when no slot takes it: the old state
        holds.
        """
        # Slot by slot, two sectors long: a sector that is left has no room, see `replace`.
        for _ in range(2 * self.slots + 2):
            address = self._next_slot()
            sequence = self.sequence + 1
            if not sequence & _THOUSAND - 1:
                sequence += 1  # only copies begin one: lib/handover.py
            if self.written_as(sequence, state, address):
                self.held = self.sector
                self.skipped = 0
                return
            self.dead += 1
        raise OSError(_EIO)

    def written_as(self, sequence: int, state: "bytes | bytearray", address: int) -> bool:
        record = self._record
        end = _HEAD + self.payload
        record[:4] = sequence.to_bytes(4, "little")
        record[4:8] = (sequence ^ 0xFFFFFFFF).to_bytes(4, "little")
        record[8:12] = self.erases.to_bytes(4, "little")
        record[_HEAD:end] = state
        body = memoryview(record)[:end]
        record[end : end + 4] = crc32(body).to_bytes(4, "little")
        record[end + 4 : end + 8] = sha256(body).digest()[:4]
        for i in range(end + 8, len(record)):
            record[i] = 0xFF
        if not self.written(address, record):
            return False
        self.sequence = sequence
        return True

    def replace(self, state: "bytes | bytearray") -> None:
        """Like `append`, and nothing of any older state stays in flash.

        The state fills its sector, goes twice into the next one, and then all others are erased. A
        cut on the way leaves older records behind, never an older state. Raises OSError like
        `append`.
        """
        home = self.sector
        self.append(state)
        # A sector that is left while it has room would be gone on with after a cut, and what was
        # torn in the next one could read as newer some day. Not sector 0: a card whose only
        # records are there may be taken for a new one.
        while self.sector == home or self.sector == 0:
            self.append(state)
        self.append(state)
        for sector in range(self.sectors):
            if sector != self.sector and self.last_written(sector) >= 0:
                if not self.erased(sector):
                    self.dead += 1

    def written(self, address: int, record: "bytes | bytearray") -> bool:
        try:
            self.flash.program(address, record)
        except OSError:
            return False
        self.flash.read(address, self.seen)
        return self.seen == record

    def _next_slot(self) -> int:
        """Address of the slot to write; erases the next sector of the ring when this one is
        full.
        """
        if 0 <= self.sector and self.next < self.slots:
            slot = self.next
            self.next += 1
            return self.sector * self.flash.SECTOR + slot * SLOT
        home = self.sector
        sector = home
        for _ in range(self.flash.SECTORS):
            sector = (sector + 1) % self.flash.SECTORS
            if sector == self.held and sector != home:
                continue
            if sector != home and self.erased(sector):
                self.sector = sector
                self.next = 1
                return sector * self.flash.SECTOR
            self.dead += 1
        raise OSError(_EIO)

    def erased(self, sector: int) -> bool:
        self.erases += 1
        try:
            self.flash.erase(sector)
        except OSError:
            return False
        return self.last_written(sector) < 0


def _wrong_in_head(record: bytearray) -> int:
    """The bits in which the sequence number and its complement disagree."""
    number = int.from_bytes(record[:4], "little")
    return number ^ int.from_bytes(record[4:8], "little") ^ 0xFFFFFFFF
