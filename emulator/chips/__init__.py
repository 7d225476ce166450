"""The chips: a file each, with what is particular to its registers, and its record."""

from __future__ import annotations

from tallystick.emulator.chips import rp2040, rp2350, stm32l4
from tallystick.emulator.chips.chip import Chip

CHIPS: dict[str, Chip] = {chip.name: chip for chip in (rp2040.CHIP, rp2350.CHIP, stm32l4.CHIP)}
