"""`stm` of the STM32 boards: register access and the addresses that firmware uses (RM0351)."""

import link
from machine import mem8, mem16, mem32  # noqa: F401
from micropython import const

FLASH = const(0x40022000)
FLASH_ACR = const(0x00)
FLASH_KEYR = const(0x08)
FLASH_SR = const(0x10)
FLASH_CR = const(0x14)
PWR = const(0x40007000)


def __getattr__(name):
    return link.late("stm", name)
