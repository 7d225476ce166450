"""The RP2350. Beyond the RP2040 it has one-time programmable memory: a random number of the chip's
own (RP2350 data sheet, 13.10: rows 4 to 11, two rows a word at OTP_DATA_BASE), and rows of the
user's, as raw words of 24 bits, whose bits only ever become 1. The reader's attestation key is in
rows with ECC, which are read as if no bit of them were ever wrong. Guarded reads are not here: the
firmware has none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tallystick.emulator.chips import rp2040
from tallystick.emulator.chips.chip import Surroundings
from tallystick.emulator.chips.pins import PinTable
from tallystick.emulator.chips.rp2040 import Rp2040
from tallystick.emulator.chips.rp2350_pins import PINS

_OTP_RANDOM = 0x40130008
_WORDS = 4
_OTP_ATTESTATION, _ATTESTATION_ROW = 0x40131A00, 0xD00  # firmware/boards/pico2.py
_ATTESTATION_WORDS = 8
_RAW, _LOCKS, _ROWS, _PAGE = 0x40134000, 0x40120000, 4096, 64
USER_ROWS = range(0x0C0, 0xF40)  # pages 3 to 60
_ROW_BITS = 0xFFFFFF
# Where `emulator/port/rom.py` plays the boot ROM's otp_access: a row, then what it answered.
OTP_BURN, OTP_ANSWER = 0xE8000000, 0xE8010000
_ROM_LOOKUP = 0x14  # the boot ROM's word with the address of its look-up function
_OK, _NOT_PERMITTED, _UNSUPPORTED = 0, -4, -18  # as the boot ROM says


class Rp2350(Rp2040):
    """`rng` gives the chip its random number, once. rows: the user's, as they are burnt.
    on_burn: told of each pulse before it is given, (row, new bits); it may give only some of them,
    and raise when power goes."""

    scratch_address = 0x400D800C  # RP2350 data sheet, 12.9

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._random = [rng.getrandbits(32) for _ in range(_WORDS)]
        self.rows: dict[int, int] = {}
        self.locks: dict[int, int] = {}  # page: until the next reset (13.5.3)
        self.burns = 0  # pulses given
        self.on_burn: Callable[[int, int], int] | None = None
        self.on_change: Callable[[], None] | None = None
        self._answer = 0

    def power_up(self) -> None:
        super().power_up()
        self.locks = {}

    def reset(self, *, from_deep_sleep: bool) -> None:
        super().reset(from_deep_sleep=from_deep_sleep)
        self.locks = {}

    def read(self, address: int) -> int:
        index = (address - _OTP_RANDOM) >> 2
        if 0 <= index < _WORDS:
            return self._random[index]
        word = (address - _OTP_ATTESTATION) >> 2
        if 0 <= word < _ATTESTATION_WORDS:
            low, high = (self._row(_ATTESTATION_ROW + 2 * word + n) & 0xFFFF for n in range(2))
            return high << 16 | low
        row = (address - _RAW) >> 2
        if 0 <= row < _ROWS:
            return self._row(row)
        if address == OTP_ANSWER:
            return self._answer & 0xFFFFFFFF
        if address & ~3 == _ROM_LOOKUP:
            return 0  # emulator/port/rom.py does not ask where it is
        return super().read(address)

    def _row(self, row: int) -> int:
        """A page that may not be read is a bus error on the chip; here it reads as nothing."""
        return 0 if self.locks.get(row // _PAGE, 0) & 2 else self.rows.get(row, 0)

    def write(self, address: int, value: int) -> None:
        row, page = (address - OTP_BURN) >> 2, (address - _LOCKS) >> 2
        if 0 <= row < _ROWS:
            self._answer = self._burn(row, value & _ROW_BITS)
        elif 0 <= page < _ROWS // _PAGE:
            self.locks[page] = self.locks.get(page, 0) | value & 3
        else:
            super().write(address, value)

    def _burn(self, row: int, value: int) -> int:
        """The boot ROM's answer (5.4.8.21)."""
        old = self.rows.get(row, 0)
        if row not in USER_ROWS or self.locks.get(row // _PAGE, 0) & 3:
            return _NOT_PERMITTED
        if old & ~value:
            return _UNSUPPORTED
        self.burns += 1
        new = value & ~old
        if self.on_burn is not None:
            new &= self.on_burn(row, new)
        if new:
            self.rows[row] = old | new
            if self.on_change is not None:
                self.on_change()
        return _OK


def _registers(chip: Surroundings) -> Rp2350:
    return Rp2350(random.Random(chip.rng.randbytes(16)))


# Functions of a pin (RP2350 data sheet, table 3), as MicroPython names them.
_ALTERNATES = (
    *("HSTX", "SPI", "UART", "I2C", "PWM", "SIO", "PIO0", "PIO1", "PIO2"),
    *("GPCK", "USB", "UART_AUX"),
)


# Those that not every pin has, and the pins that have them.
_OF_SOME = {
    0: range(12, 20),
    9: (*range(6), 8, *range(12, 16), 19, *range(20, 26)),
    11: [pin for pin in range(30) if pin & 2],
}


def _pin_settings(pins: PinTable, names: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    some = rp2040.of_some(_OF_SOME)
    own = {"functions": _ALTERNATES, "of_some": some, "clock_hz": 150_000_000}
    return {"machine_rp2": own | rp2040.buses(pins, names)}


CHIP = replace(
    rp2040.CHIP,
    name="rp2350",
    clock_hz=150_000_000,
    registers=_registers,
    port_modules=(*rp2040.CHIP.port_modules, "rom"),
    pins=PINS,
    pin_settings=_pin_settings,
    modelled=(
        Rp2350.scratch_address,
        Rp2350.scratch_address + 0x1F,
        _OTP_RANDOM,
        _OTP_RANDOM + 4 * _WORDS - 1,
        _OTP_ATTESTATION,
        _OTP_ATTESTATION + 4 * _ATTESTATION_WORDS - 1,
        _RAW,
        _RAW + 4 * _ROWS - 1,
        _LOCKS,
        _LOCKS + 4 * (_ROWS // _PAGE) - 1,
        OTP_BURN,
        OTP_BURN + 4 * _ROWS - 1,
        OTP_ANSWER,
        OTP_ANSWER + 3,
        _ROM_LOOKUP,
        _ROM_LOOKUP + 3,
    ),
    uf2_family=0xE48BFF57,  # "absolute": written where it says (data sheet, section 5.5.3)
    uf2_padding=0x10FFFF00,  # tools put a block there because of erratum E10
    drive="RP2350",
    prompt="with RP2350",
    lock="burnt rows",
)
