"""A small program for the RP2040, made by hand: writes registers, waits for the button, writes
registers. Enough to try everything between a `.uf2` and the display's pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterable

FLASH = 0x10000000
_GPIO_IN = 0xD0000004
_TABLES = 0x100
_PADS, _IO, _SS = 0x4001C000, 0x40014000, 0x4001800C
_I2C, _SSI = 0x40044000, 0x18000000
_STOP = 1 << 9

Writes = list[tuple[int, int]]


def program(button_pin: int, first: Writes, then: Writes) -> bytes:
    """Machine code for the start of flash (ARMv6-M): `first`, then on a low button `then`."""
    code = [
        0x4809,  # 00 ldr r0, [pc, #36]  the first table
        0xC806,  # 02 ldmia r0!, {r1, r2}
        0x2900,  # 04 cmp r1, #0
        0xD001,  # 06 beq 0c
        0x600A,  # 08 str r2, [r1]
        0xE7FA,  # 0a b 02
        0x4B07,  # 0c ldr r3, [pc, #28]  GPIO_IN
        0x4C08,  # 0e ldr r4, [pc, #32]  the button's bit
        0x681A,  # 10 ldr r2, [r3]
        0x4222,  # 12 tst r2, r4
        0xD1FC,  # 14 bne 10
        0x4807,  # 16 ldr r0, [pc, #28]  the second table
        0xC806,  # 18 ldmia r0!, {r1, r2}
        0x2900,  # 1a cmp r1, #0
        0xD001,  # 1c beq 22
        0x600A,  # 1e str r2, [r1]
        0xE7FA,  # 20 b 18
        0xBF30,  # 22 wfi
        0xE7FD,  # 24 b 22
        0xBF00,  # 26 nop
    ]
    one, two = (
        b"".join(struct.pack("<II", *write) for write in [*writes, (0, 0)])
        for writes in (first, then)
    )
    literals = [FLASH + _TABLES, _GPIO_IN, 1 << button_pin, FLASH + _TABLES + len(one)]
    head = struct.pack("<20H4I", *code, *literals)
    return head.ljust(_TABLES, b"\0") + one + two


def button_input(pin: int) -> Writes:
    return [(_PADS + 4 + 4 * pin, 0x4A), (_IO + 8 * pin + 4, 5)]


def i2c(address: int, transfers: Iterable[bytes]) -> Writes:
    writes = [(_I2C + 0x04, address), (_I2C + 0x6C, 1)]
    for data in transfers:
        writes += [(_I2C + 0x10, value) for value in data[:-1]]
        writes.append((_I2C + 0x10, data[-1] | _STOP))
    return writes


def flash_commands(*commands: bytes) -> Writes:
    """Each between chip select going low and high."""
    writes = [(_SSI + 0x08, 1), (_SS, 0x300)]
    for command in commands:
        writes.append((_SS, 0x200))
        writes += [(_SSI + 0x60, value) for value in command]
        writes.append((_SS, 0x300))
    return writes


def uf2(data: bytes, *, address: int = FLASH, family: int = 0xE48BFF56) -> bytes:
    """As a board's bootloader takes it (UF2 specification)."""
    pieces = [data[at : at + 256] for at in range(0, len(data), 256)]
    blocks = b""
    for number, piece in enumerate(pieces):
        header = struct.pack(
            "<8I", 0x0A324655, 0x9E5D5157, 0x2000, address + 256 * number, 256,
            number, len(pieces), family,
        )  # fmt: skip
        blocks += header + piece.ljust(476, b"\0") + struct.pack("<I", 0x0AB16F30)
    return blocks
