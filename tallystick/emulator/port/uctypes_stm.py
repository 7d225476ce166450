"""`uctypes` of the STM32 boards, as far as firmware uses it: a view of memory-mapped flash."""

import flash

FLASH_BASE = 0x08000000


def bytearray_at(address, n):
    flash.looked_at(address - FLASH_BASE)
    if flash.memory is not None:
        return flash.memory[address - FLASH_BASE : address - FLASH_BASE + n]
    buf = bytearray(n)
    flash.read_into(address - FLASH_BASE, buf)
    return buf


bytes_at = bytearray_at
