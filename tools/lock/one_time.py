"""Rows of an RP2350 that are burnt once, for secure boot, as `picotool otp load` takes them.

Names of rows and fields are those of the RP2350 data sheet, 13.10. The files are loaded in their
order: the key's hash before it is valid, a valid key before signatures are asked for, the boot
loader last. A chip that loses power in between starts what is signed, and can be gone on with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from tallystick.common.errors import RefusedError
from tallystick.tools.lock.boot_key import BootKey

Setting = dict[str, int] | dict[str, bool | list[int]] | list[int] | str

ATTESTATION = "0-attestation-key.json"
_ATTESTATION_PAGE = 52  # rows 0xD00 on, behind those of firmware/boards/once.py
_READ_ONLY = 0x15  # boot loader, Non-secure, Secure: may read
_SECURE_READS = 0x3D  # boot loader and Non-secure: nothing; Secure: may read


@dataclass(frozen=True)
class RowsFile:
    """`rows`: name → bytes, fields or a word. words: what it means, a line each."""

    name: str
    rows: dict[str, Setting]
    words: tuple[str, ...]

    def encode(self) -> bytes:
        return (json.dumps(self.rows, indent=2) + "\n").encode()


def attestation(key: bytes) -> RowsFile:
    """A reader's attestation key, 32 bytes: into sixteen rows with ECC, where the firmware looks
    for it (firmware/boards/pico2.py). Its file is a secret."""
    value: dict[str, bool | list[int]] = {"ecc": True, "value": list(key)}
    return RowsFile(ATTESTATION, {f"{_ATTESTATION_PAGE}:0": value}, ())


def plan(key: BootKey, *, attests: bool = False) -> tuple[RowsFile, ...]:
    """The files that lock a chip to a key. attests: it has a reader's attestation key in its rows.
    Raises RefusedError for the published one."""
    pages: dict[str, Setting] = {}
    said: tuple[str, ...] = ()
    if attests:
        pages = {f"page{_ATTESTATION_PAGE}_lock1": _thrice(_SECURE_READS)}
        said = (
            f"page {_ATTESTATION_PAGE}, with the attestation key: read by what is signed alone, "
            "written by nothing",
        )
    if key.is_development:
        raise RefusedError(
            "This is the published development boot key: anybody signs with it.",
            kept="Nothing was burnt.",
            todo="Make a key of your own: tally image keys boot FILE.",
        )
    return (
        RowsFile(
            "1-boot-key.json",
            {"bootkey0": list(key.digest)},
            (f"the SHA-256 of the boot key, {key.digest.hex()[:16]}…, into boot key 0",),
        ),
        RowsFile(
            "2-key-valid.json",
            {"boot_flags1": {"key_valid": 0x1, "key_invalid": 0xE}},
            ("boot key 0 is valid, and keys 1 to 3 never become so",),
        ),
        RowsFile(
            "3-secure-boot.json",
            {
                "crit1": {
                    "secure_boot_enable": 1,
                    "secure_debug_disable": 1,
                    "debug_disable": 1,
                    "glitch_detector_enable": 1,
                    "glitch_detector_sens": 3,
                }
            },
            (
                "the chip starts nothing that the boot key has not signed, and no RISC-V core",
                "no debugger ever again; glitch detectors on, most sensitive",
            ),
        ),
        RowsFile(
            "4-pages.json",
            {
                "page0_lock1": _thrice(_SECURE_READS),
                "page2_lock1": _thrice(_READ_ONLY),
                **pages,
            },
            (
                *said,
                "page 0, with the root: read by what is signed alone, written by nothing",
                "page 2, with the boot key: written by nothing",
            ),
        ),
        RowsFile(
            "5-boot-loader.json",
            {
                "boot_flags0": {
                    "disable_bootsel_exec2": 1,
                    "disable_bootsel_usb_msd_ifc": 1,
                    "disable_bootsel_usb_picoboot_ifc": 1,
                    "disable_bootsel_uart_boot": 1,
                    "disable_sram_window_boot": 1,
                    "disable_power_scratch": 1,
                    "disable_otp_boot": 1,
                },
                "page1_lock1": _thrice(_READ_ONLY),
            },
            (
                "no boot loader over USB or UART ever again: neither drive nor picotool",
                "no start from RAM, from scratch registers or from burnt rows",
                "page 1, with these settings: written by nothing",
            ),
        ),
    )


def _thrice(bits: int) -> str:
    """A lock row keeps its byte three times, and the majority counts."""
    return f"{bits << 16 | bits << 8 | bits:#08x}"
