"""Small programs for the chips, assembled when a test runs: no firmware of anybody's is needed."""

from __future__ import annotations

import struct
from contextlib import suppress

from keystone import KS_ARCH_ARM, KS_MODE_THUMB, Ks, KsError

_TRIES = 3
RAM = 0x20000000
STACK = RAM + 0x8000

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
        code += _assembled("\n".join(lines), at)
        code += b"\0" * (-len(code) % 4)
        return at | 1

    words[1] = place(main)
    for number, source in (handlers or {}).items():
        words[number] = place(source)
    return struct.pack("<128I", *words) + code


def _assembled(source: str, at: int) -> bytes:
    """Keystone now and then refuses what it takes the next time."""
    for _ in range(_TRIES):
        with suppress(KsError):
            return bytes(Ks(KS_ARCH_ARM, KS_MODE_THUMB).asm(source, at)[0])
    return bytes(Ks(KS_ARCH_ARM, KS_MODE_THUMB).asm(source, at)[0])


def put(register: str, value: int) -> str:
    """A constant into a register."""
    return f"movw {register}, #{value & 0xFFFF}\nmovt {register}, #{value >> 16 & 0xFFFF}"


def stores(*pairs: tuple[int, int], size: str = "") -> str:
    """Values, one after the other, to addresses. size: "h" or "b" for less than words."""
    return "\n".join(
        f"{put('r0', at)}\n{put('r1', value)}\nstr{size} r1, [r0]" for at, value in pairs
    )


def keep(address: int, slot: int) -> str:
    """What is read there, into a word of RAM."""
    return f"{put('r0', address)}\nldr r1, [r0]\n{put('r0', RAM + 4 * slot)}\nstr r1, [r0]"


def wait(address: int, mask: int, value: int, label: str) -> str:
    """Until the bits of `mask` there are `value`."""
    lines = f"{put('r0', address)}\n{put('r2', mask)}\n{put('r3', value)}"
    return f"{lines}\n{label}: ldr r1, [r0]\nands r1, r2\ncmp r1, r3\nbne {label}"
