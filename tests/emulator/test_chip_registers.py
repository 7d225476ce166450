"""What the chips' registers do that no conformance script can tell, and how long a byte takes."""

from __future__ import annotations

import random

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.chips.chip import Surroundings
from tallystick.emulator.chips.stm32l4 import Stm32L4
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.emulator.parts.uart import Uart

ADC = 0x50040000
CCR, SMPR1, CR, DR = ADC + 0x308, ADC + 0x14, ADC + 0x08, ADC + 0x40
VREFEN, ADEN, ADSTART = 1 << 22, 1, 4


@pytest.fixture
def chip():
    board = find("nucleo_l476rg")
    flash = NorFlash(board.flash_size, board.flash_timing)
    return Stm32L4(Surroundings(flash, flash.program, flash.erase, random.Random(1), lambda: 3000))


def converted(chip, sampling, common=VREFEN):
    for register, value in ((CCR, common), (SMPR1, sampling), (CR, ADEN), (CR, ADEN | ADSTART)):
        chip.write(register, value)
    return chip.read(DR)


def test_the_reference_is_read_when_it_is_on_and_sampled_for_four_microseconds(chip):
    """DS10198, table 25: 4 µs at least. 247.5 clocks of 26 MHz are 9.5 µs, 92.5 are 3.6."""
    assert converted(chip, 6) == converted(chip, 7) == 1655
    assert [converted(chip, short) for short in range(6)] == [0] * 6
    assert converted(chip, 6, common=0) == 0


def test_a_byte_on_the_line_is_ten_bits():
    line = Uart()
    line.configure(115_200)
    assert line.byte_us() == pytest.approx(86.8, abs=0.1)
