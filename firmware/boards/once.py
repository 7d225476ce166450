"""Rows of the RP2350 that are burnt once (data sheet, 13): 24 bits each, which only ever become 1.

These are pages 3 to 51, rows 0x0C0 to 0xCFF, of the rows that are the user's. Reading them is
reading memory; the boot ROM's `otp_access` burns, with voltages and pulses that are its makers'.
"""

import machine
from micropython import const
from uctypes import addressof

from boards import rom

ROWS = const(3136)
_FIRST = const(0x0C0)
_RAW = const(0x40134000)  # a word a row
_WRITE = const(0x10000)
_LOOKUP = const(0x16)  # in the boot ROM: where its look-up function is, 16 bits
_ARM_SECURE = const(4)
_OTP_ACCESS = const(0x414F)  # "OA"


def read(row: int) -> int:
    """24 bits; row 0 to 3135."""
    return machine.mem32[_RAW + 4 * (_FIRST + row)] & 0xFFFFFF


def burn(row: int, bits: int) -> bool:
    """Sets bits of a row; those that are set already get another pulse. False when the chip
    refuses.
    """
    word = bytearray((bits | read(row)).to_bytes(4, "little"))
    access = rom.call(_OTP_ACCESS, _ARM_SECURE, 0, machine.mem16[_LOOKUP])
    return rom.call(addressof(word), 4, _FIRST + row | _WRITE, access) == 0
