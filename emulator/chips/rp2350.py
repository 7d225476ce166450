"""The RP2350. Beyond the RP2040 it has one-time programmable memory with a random number of the
chip's own (RP2350 data sheet, 13.10: rows 4 to 11, two rows a word at OTP_DATA_BASE).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from tallystick.emulator.chips import rp2040
from tallystick.emulator.chips.rp2040 import Rp2040
from tallystick.emulator.chips.rp2350_pins import PINS
from tallystick.emulator.parts.nor_flash import NorFlash

_OTP_RANDOM = 0x40130008
_WORDS = 4


class Rp2350(Rp2040):
    """`rng` gives the chip its random number, once."""

    scratch_address = 0x400D800C  # RP2350 data sheet, 12.9

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = [rng.getrandbits(32) for _ in range(_WORDS)]

    def read(self, address: int) -> int:
        index = (address - _OTP_RANDOM) >> 2
        if 0 <= index < _WORDS:
            return self._random[index]
        return super().read(address)


def _registers(
    flash: NorFlash,
    program: Callable[[int, bytes], bool],
    erase: Callable[[int], bool],
    rng: random.Random,
    supply_mv: Callable[[], int],
) -> Rp2350:
    return Rp2350(random.Random(rng.randbytes(16)))


CHIP = replace(
    rp2040.CHIP,
    name="rp2350",
    clock_hz=150_000_000,
    registers=_registers,
    pins=PINS,
    modelled=(
        Rp2350.scratch_address,
        Rp2350.scratch_address + 0x1F,
        _OTP_RANDOM,
        _OTP_RANDOM + 4 * _WORDS - 1,
    ),
    uf2_family=0xE48BFF57,  # "absolute": written where it says (data sheet, section 5.5.3)
    uf2_padding=0x10FFFF00,  # tools put a block there because of erratum E10
    drive="RP2350",
    prompt="with RP2350",
)
