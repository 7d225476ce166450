"""One-time programmable memory: 4096 rows of 24 bits, in 64 pages (RP2350 data sheet, 13).

A bit is set once and for ever. A row written with ECC has 16 bits of data, six that correct one and
find two wrong bits, and two that say that the rest is inverted (13.6). A page's lock forbids
writing, or reading too: until the next reset, or for ever, in rows of its own.
"""

from __future__ import annotations

from functools import partial

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.registers import RegisterBlock

ROWS, PAGE = 4096, 64
_DATA, _RAW, _GUARDED, _RAW_GUARDED = 0x0000, 0x4000, 0x8000, 0xC000
_MASKS = (0x00AD5B, 0x00366D, 0x00C78E, 0x0007F0, 0x00F800, 0x1FFFFF)  # 13.6.1
_ROW_BITS, _DATA_BITS = 0xFFFFFF, 0x3FFFFF
_INVERTED = 0xC00000
_WRITE_NS = 100_000  # a row's pulses, about
OK, NOT_PERMITTED, INVALID, MISALIGNED, UNSUPPORTED = 0, -4, -5, -11, -18  # as the boot ROM says
_ROW_FLAGS, _WRITE, _ECC = 0xFFFF, 1 << 16, 1 << 17
_LOCK_ROWS = 0xF80  # two a page
_CHIP_RANDOM = 4  # first of eight rows: the chip's private random number


def with_ecc(data: int) -> int:
    """22 bits for 16."""
    row = data
    for bit, mask in enumerate(_MASKS):
        row |= ((row & mask).bit_count() & 1) << (16 + bit)
    return row


def without_ecc(row: int) -> int:
    """16 bits of 24, with one wrong bit corrected; -1 when more are wrong."""
    if row & _INVERTED == _INVERTED:
        row ^= _ROW_BITS
    row &= _DATA_BITS
    for wrong in (0, *(1 << bit for bit in range(22))):
        if with_ecc((row ^ wrong) & 0xFFFF) == row ^ wrong:
            return (row ^ wrong) & 0xFFFF
    return -1


class Otp:
    """What survives everything. `rows` as they are burnt."""

    def __init__(self, chip_random: bytes, rows: dict[int, int] | None = None) -> None:
        self.rows = dict(rows or {})
        for n in range(8):
            word = int.from_bytes(chip_random[2 * n : 2 * n + 2], "little")
            self.rows.setdefault(_CHIP_RANDOM + n, with_ecc(word))

    def raw(self, row: int) -> int:
        return self.rows.get(row, 0)

    def burn(self, row: int, value: int) -> None:
        self.rows[row] = self.raw(row) | value & _ROW_BITS


class OtpControl(RegisterBlock):
    """The controller's registers and its view of the rows, and what the boot ROM does with them."""

    flat = True

    def __init__(self, core: Cortex, otp: Otp) -> None:
        super().__init__(core, "OTP", {0x128: 1})
        self._otp = otp
        self.locks = [0] * (ROWS // PAGE)
        for page in range(ROWS // PAGE):
            self.reads[4 * page] = partial(self.locks.__getitem__, page)
            self.writes[4 * page] = partial(self._lock, page)
        for offset in (0x138, 0x13C, 0x140, 0x144, 0x14C, 0x150, 0x154, 0x158, 0x15C, 0x160):
            self.kept[offset] = 0
        self.reads[0x148] = lambda: 0

    def reset(self) -> None:
        """Locks are what each page's own row says (13.5.2): the second of its two, thrice."""
        for page in range(len(self.locks)):
            row = self._otp.raw(_LOCK_ROWS + 2 * page + 1)
            one, two, three = row & 0xFF, row >> 8 & 0xFF, row >> 16
            self.locks[page] = (one & two | two & three | one & three) & 15

    def _lock(self, page: int, value: int) -> None:
        """A lock only grows until the next reset (13.5.3)."""
        self.locks[page] |= value & 15

    def access(self, address: int, size: int, command: int) -> int:
        """The boot ROM's otp_access (5.4.8.21): a buffer, its size, and row with flags."""
        first, writes, ecc = command & _ROW_FLAGS, command & _WRITE, command & _ECC
        width = 2 if ecc else 4
        count = size // width
        if command & ~(_ROW_FLAGS | _WRITE | _ECC) or first + count > ROWS:
            return INVALID
        if (address | size) & (width - 1):
            return MISALIGNED
        for n in range(count):
            row = first + n
            if self.locks[row // PAGE] & 3 & (3 if writes else 2):
                return NOT_PERMITTED
            old = self._otp.raw(row)
            if not writes:
                value = without_ecc(old) if ecc else old
                self.core.load(address + width * n, (value & (0xFFFF if ecc else 0xFFFFFF))
                                .to_bytes(width, "little"))  # fmt: skip
                continue
            value = int.from_bytes(self.core.peek(address + width * n, width), "little")
            if ecc:
                value = with_ecc(value)
                if old & ~value:
                    value ^= _ROW_BITS
            if old & ~value:
                return UNSUPPORTED
            self.core.stall(_WRITE_NS)
            self._otp.burn(row, value)
        return OK


class OtpData(RegisterBlock):
    """Rows as memory, two ECC rows a word, or a raw row a word (13.1.2)."""

    flat = True

    def __init__(self, core: Cortex, otp: Otp, control: OtpControl) -> None:
        super().__init__(core, "OTP_DATA")
        self._otp = otp
        self._control = control

    def read(self, offset: int) -> int:
        window, at = offset & 0xC000, offset & 0x3FFF
        if window in (_RAW, _RAW_GUARDED):
            return self._row(at >> 2)
        if at >= 2 * ROWS:
            raise self._unknown(offset, "reads")
        row = at >> 1
        low, high = (without_ecc(self._row(row + n)) for n in range(2))
        if min(low, high) < 0 and window == _GUARDED:
            raise self.core.error(
                f"reads OTP row {row:#x}, which has an error that is not corrected"
            )
        return (low & 0xFFFF) | (high & 0xFFFF) << 16

    def _row(self, row: int) -> int:
        if self._control.locks[row // PAGE] & 2:
            raise self.core.error(f"reads OTP row {row:#x}, which is locked: a bus error")
        return self._otp.raw(row)
