"""What the RP2350 has beyond the RP2040: one-time programmable memory with a random number of the
chip's own (RP2350 data sheet, 13.10: rows 4 to 11, two rows a word at OTP_DATA_BASE).
"""

from __future__ import annotations

import random

from tallystick.emulator.parts.rp2040 import Rp2040

_OTP_RANDOM = 0x40130008
_WORDS = 4


class Rp2350(Rp2040):
    """`rng` gives the chip its random number, once."""

    detunes_uart = False
    scratch_address = 0x400D800C  # RP2350 data sheet, 12.9

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = [rng.getrandbits(32) for _ in range(_WORDS)]

    def read(self, address: int) -> int:
        index = (address - _OTP_RANDOM) >> 2
        if 0 <= index < _WORDS:
            return self._random[index]
        return super().read(address)
