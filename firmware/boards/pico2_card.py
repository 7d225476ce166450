"""Raspberry Pi Pico 2 as a card: RP2350, a development kit, wired as the Pico.

The flash map is the Pico's too, counted from the start of MicroPython's storage area. Erratum E9 of
the chip: its pull-downs do not hold a floating pin low, so GP14 (dock sense) needs a resistor of
8.2 kΩ or less to ground.
"""

from boards import pico

pico.scratch = 0x400D800C  # WATCHDOG_SCRATCH0 of this chip

from boards.pico import *  # noqa: F403

NAME = "pico2_card"
