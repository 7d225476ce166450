"""Stands for firmware/boards/rom.py, which is machine code of the RP2350: the boot ROM's look-up
and its `otp_access` (data sheet, 5.4.8.21), as far as the firmware asks for them.
"""

import link
import machine
from uctypes import bytearray_at

_OTP_ACCESS = 0x414F  # "OA"
_AT = 0x4F41  # what stands for its address
_WRITE = 1 << 16
_BURN, _ANSWER = 0xE8000000, 0xE8010000  # emulator/chips/rp2350.py
_ROW_US = 100


def call(r0, r1, r2, r3):
    if r3 != _AT:
        return _AT if r0 == _OTP_ACCESS else 0
    row = r2 & 0xFFFF
    if r1 != 4 or r2 & ~0xFFFF != _WRITE:
        return -5
    link.charge(_ROW_US)
    machine.mem32[_BURN + 4 * row] = int.from_bytes(bytearray_at(r0, 4), "little")
    return machine.mem32[_ANSWER]
