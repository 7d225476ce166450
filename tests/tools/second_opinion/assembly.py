"""Small programs for the chips, assembled when a test runs: no firmware of anybody's is needed."""

from __future__ import annotations

import struct

from keystone import KS_ARCH_ARM, KS_MODE_THUMB, Ks

STACK = 0x20008000

# Thumb code of special registers, which the assembler has for other cores only (DDI 0403, B5.2.3).
SPECIAL = {
    "msr primask, r0": ".short 0xF380, 0x8810",
    "msr basepri, r0": ".short 0xF380, 0x8811",
    "msr control, r0": ".short 0xF380, 0x8814",
    "msr psp, r0": ".short 0xF380, 0x8809",
    "mrs r0, ipsr": ".short 0xF3EF, 0x8005",
    "mrs r0, msp": ".short 0xF3EF, 0x8008",
    "mrs r0, psp": ".short 0xF3EF, 0x8009",
}


def program(base: int, main: str, handlers: dict[int, str] | None = None) -> bytes:
    """Machine code for `base`: a vector table with its first 128 exceptions, `main`, and what
    `handlers` do (exception number → source). Other exceptions never end."""
    words = [STACK] + [0] * 127
    code = b""
    start = base + 4 * len(words)

    def place(source: str) -> int:
        nonlocal code
        at = start + len(code)
        lines = (SPECIAL.get(line.strip(), line) for line in source.strip().splitlines())
        code += bytes(Ks(KS_ARCH_ARM, KS_MODE_THUMB).asm("\n".join(lines), at)[0])
        code += b"\0" * (-len(code) % 4)
        return at | 1

    words[1] = place(main)
    for number, source in (handlers or {}).items():
        words[number] = place(source)
    return struct.pack("<128I", *words) + code


def stores(*pairs: tuple[int, int]) -> str:
    """Words, one after the other, to addresses."""
    return "\n".join(f"ldr r0, ={at}\nldr r1, ={value}\nstr r1, [r0]" for at, value in pairs)
