"""A log of whole states on NOR flash that no power cut can hurt.

Every record holds the whole state, so one record is one transaction. Records are appended in slots
of 256 bytes; the newest valid one is the state. When a sector is full the next one in the ring is
erased, always immediately before its first use. findings/powercuts.md has the argument; in short:

- A record is valid when its CRC-32 and 4 bytes of its SHA-256 agree; one flipped bit is mended.
- The slot after the last written one may have been touched by a program that was cut and still read
  as blank. After a cold start every state is therefore written twice: once into that slot, which is
  not trusted, and once into the next. A record that was cut and happens to read as valid becomes
  solid in the same way.
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
        self._flash = flash
        self.sectors = flash.SECTORS
        self.payload = payload
        self._sizes = (payload,) + older
        size = (_HEAD + payload + _CHECK + unit - 1) // unit * unit
        self._record = bytearray(size)
        self._seen = bytearray(size)
        self._blank = b"\xff" * size
        self._slots = flash.SECTOR // SLOT
        self._sequence = 0
        self._above = 0  # the highest sequence number of a torn record
        self._sector = -1  # where the newest record is, -1: nowhere
        self._next = 0  # the next slot of that sector
        self._held = -1  # the sector with the newest whole record: not the same behind torn ones
        self.erases = 0
        self.skipped = 0
        self.dead = 0  # slots and sectors that failed since start

    # -- reading -------------------------------------------------------------------------------

    def load(self) -> "bytes | None":
        """The newest state, or None for flash as it comes from the factory. Raises DamagedError,
        StrangeError.
        """
        order = self._sectors_by_age()
        for sector in order:
            state = self._newest_in(sector)
            if state is not None:
                self._held = sector
                self._count_first(sector, order)
                return state
        # The first record of all may have been cut; it is in sector 0. Anything else was a state.
        for sector in range(1, self._flash.SECTORS):
            if self._last_written(sector) >= 0:
                raise DamagedError
        self._sequence = self._above
        self.skipped = 0
        return None

    def _count_first(self, newest: int, order: "list[int]") -> None:
        """The only record of the sector after the newest may have rotted so that nothing tells its
        age. That sector is passed over: erased, it would leave nothing to jump for.
        """
        sector = (newest + 1) % self._flash.SECTORS
        if sector in order or not self._is_full(newest):
            return
        self._flash.read(sector * self._flash.SECTOR, self._seen)
        if not self._was_whole():
            return
        self.skipped += 1
        if self._sector == newest:
            self._sector, self._next = sector, self._slots
            self._sequence += self._slots  # its number is this high at most

    def _is_full(self, sector: int) -> bool:
        if self._sector == sector:
            return self._next == self._slots
        return self._last_written(sector) == self._slots - 1

    def _sectors_by_age(self) -> "list[int]":
        """Sectors with readable sequence numbers, the newest first."""
        found = []
        # Most sectors of a young card are blank, and some flash can be told so at a glance.
        is_blank = getattr(self._flash, "is_blank", None)
        for sector in range(self._flash.SECTORS):
            if is_blank and is_blank(sector):
                continue
            sequence = self._first_sequence(sector)
            if sequence >= 0:
                found.append((sequence, sector))
        found.sort()
        return [sector for _, sector in reversed(found)]

    def _first_sequence(self, sector: int) -> int:
        """The lowest sequence number in a sector, or -1. A spoiled first slot hides no sector."""
        for slot in range(self._slots):
            self._flash.read(sector * self._flash.SECTOR + slot * SLOT, self._seen)
            if self._seen == self._blank:
                continue
            # A flipped bit may be in the number itself: only the whole record tells.
            if _wrong_in_head(self._seen) == 0 or self._valid():
                return int.from_bytes(self._seen[:4], "little")
        return -1

    def _last_written(self, sector: int) -> int:
        """The last slot of a sector that is not blank, or -1."""
        for slot in range(self._slots - 1, -1, -1):
            self._flash.read(sector * self._flash.SECTOR + slot * SLOT, self._seen)
            if self._seen != self._blank:
                return slot
        return -1

    def _newest_in(self, sector: int) -> "bytes | None":
        last = self._last_written(sector)
        for slot in range(last, -1, -1):
            self._flash.read(sector * self._flash.SECTOR + slot * SLOT, self._seen)
            if self._seen == self._blank:
                continue
            if not self._valid():
                self.skipped += self._was_whole()
                if _wrong_in_head(self._seen) == 0:
                    self._known(sector * self._flash.SECTOR + slot * SLOT)
                    # It may read as whole some day: what is written now is newer.
                    torn = int.from_bytes(self._seen[:4], "little")
                    self._above = max(self._above, torn)
                continue
            if self._sector < 0:
                self._sector = sector
                self._next = last + 1
            self._sequence = max(self._above, int.from_bytes(self._seen[:4], "little"))
            self.erases = int.from_bytes(self._seen[8:12], "little")
            return bytes(self._seen[_HEAD : _HEAD + self.payload])
        if self._sector < 0 and last >= 0:
            # Only spoiled records here: the state is in an older sector, writing goes on after
            # them.
            self._sector = sector
            self._next = last + 1
        return None

    def _known(self, address: int) -> None:
        """Raises StrangeError for a record that is whole at another size than ours."""
        from lib.strange import size

        if size(self._flash, address) >= 0:
            raise StrangeError

    def _valid(self) -> bool:
        """True when the record in `_seen` is whole, or was but for one bit, which is mended. Its
        size is `payload` from there on.
        """
        # Most records that a cut left are told at once; the search for a flipped bit is long.
        wrong = _wrong_in_head(self._seen)
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
        body = memoryview(self._seen)[:end]
        off = crc32(body) ^ int.from_bytes(self._seen[end : end + 4], "little")
        if off and off & (off - 1):
            from lib.mend import flipped_bit

            bit = flipped_bit(off, end)
            if bit < 0:
                return False
            self._seen[bit >> 3] ^= 1 << (bit & 7)
        digest = sha256(body).digest()
        wrong = 0
        for i in range(4):
            wrong |= (self._seen[end + 4 + i] ^ digest[i]) << 8 * i
        return not wrong or not (off or wrong & (wrong - 1))

    def _was_whole(self) -> bool:
        """Whether the spoiled record in `_seen` may have been whole once. Most that a cut or a worn
        sector leaves cannot: nothing of their check is there, or number and complement disagree in
        more bits than rot would turn over."""
        wrong = _wrong_in_head(self._seen)
        bits = 0
        while wrong:
            wrong &= wrong - 1
            bits += 1
        return bits <= _ROTTEN and self._check(self._sizes[-1]) != b"\xff" * _CHECK

    def _check(self, size: int) -> bytearray:
        end = _HEAD + size
        return self._seen[end : end + _CHECK]

    # -- writing -------------------------------------------------------------------------------

    def append(self, state: "bytes | bytearray") -> None:
        """Writes a state and reads it back. Raises OSError when no slot takes it: the old state
        holds.
        """
        record = self._record
        end = _HEAD + self.payload
        # Slot by slot, two sectors long: a sector that is left has no room, see `replace`.
        for _ in range(2 * self._slots + 2):
            address = self._next_slot()
            sequence = self._sequence + 1
            record[:4] = sequence.to_bytes(4, "little")
            record[4:8] = (sequence ^ 0xFFFFFFFF).to_bytes(4, "little")
            record[8:12] = self.erases.to_bytes(4, "little")
            record[_HEAD:end] = state
            body = memoryview(record)[:end]
            record[end : end + 4] = crc32(body).to_bytes(4, "little")
            record[end + 4 : end + 8] = sha256(body).digest()[:4]
            for i in range(end + 8, len(record)):
                record[i] = 0xFF
            if self._written(address):
                self._sequence = sequence
                self._held = self._sector
                self.skipped = 0
                return
            self.dead += 1
        raise OSError(_EIO)

    def replace(self, state: "bytes | bytearray") -> None:
        """Like `append`, and nothing of any older state stays in flash.

        The state fills its sector, goes twice into the next one, and then all others are erased. A
        cut on the way leaves older records behind, never an older state. Raises OSError like
        `append`.
        """
        home = self._sector
        self.append(state)
        # A sector that is left while it has room would be gone on with after a cut, and what was
        # torn in the next one could read as newer some day. Not sector 0: a card whose only
        # records are there may be taken for a new one.
        while self._sector == home or self._sector == 0:
            self.append(state)
        self.append(state)
        for sector in range(self.sectors):
            if sector != self._sector and self._last_written(sector) >= 0:
                if not self._erased(sector):
                    self.dead += 1

    def _written(self, address: int) -> bool:
        try:
            self._flash.program(address, self._record)
        except OSError:
            return False
        self._flash.read(address, self._seen)
        return self._seen == self._record

    def _next_slot(self) -> int:
        """Address of the slot to write; erases the next sector of the ring when this one is
        full.
        """
        if 0 <= self._sector and self._next < self._slots:
            slot = self._next
            self._next += 1
            return self._sector * self._flash.SECTOR + slot * SLOT
        home = self._sector
        sector = home
        for _ in range(self._flash.SECTORS):
            sector = (sector + 1) % self._flash.SECTORS
            if sector == self._held and sector != home:
                continue
            if sector != home and self._erased(sector):
                self._sector = sector
                self._next = 1
                # Torn records before it may read as whole some day: all their numbers are lower.
                self._sequence += self._slots
                return sector * self._flash.SECTOR
            self.dead += 1
        raise OSError(_EIO)

    def _erased(self, sector: int) -> bool:
        self.erases += 1
        try:
            self._flash.erase(sector)
        except OSError:
            return False
        return self._last_written(sector) < 0


def _wrong_in_head(record: bytearray) -> int:
    """The bits in which the sequence number and its complement disagree."""
    number = int.from_bytes(record[:4], "little")
    return number ^ int.from_bytes(record[4:8], "little") ^ 0xFFFFFFFF
