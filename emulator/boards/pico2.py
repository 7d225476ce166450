"""Raspberry Pi Pico 2 (RP2350), the fingerprint reader: R503 on UART1, its touch output on GP6,
USB.

Figures: RP2350 data sheet and Pico 2 data sheet, W25Q32 data sheet (256-byte page 0.4 ms typical, 4
KiB sector erase 45 ms, 100,000 cycles). CPU costs are those measured on an RP2040 at 125 MHz,
scaled by clock.
"""

from tallystick.emulator.boards.board import Board, Currents, Region
from tallystick.emulator.parts.nor_flash import FlashTiming

_STORAGE = 0x100000  # 4 MiB of flash, the last 3 MiB for storage
_SECTOR = 4096

BOARD = Board(
    name="pico2",
    device="reader",
    chip="rp2350",
    heap=140 * 1024,
    modules=("machine_rp2", "rp2", "usb_device"),
    flash_size=4 * 1024 * 1024,
    flash_timing=FlashTiming(
        program_unit=256,
        program_us=640,
        sector=_SECTOR,
        erase_us=45_000,
        program_ua=15_000,
        erase_ua=15_000,
        endurance=100_000,
    ),
    storage=Region(_STORAGE, 768 * _SECTOR),
    storage_block=_SECTOR,
    file_system=Region(_STORAGE, 640 * _SECTOR),
    identity=Region(_STORAGE + 640 * _SECTOR, _SECTOR),
    journal=Region(_STORAGE + 641 * _SECTOR, 64 * _SECTOR),
    touch_pin=6,
    touch_active=0,
    led_pin=25,
    uart=1,
    currents=Currents(run=26_000, idle=14_000, light_sleep=1_500, deep_sleep=1_500),
    boot_us=6_200,
    wake_us=500,
    read_us_per_256=50,
    import_us_per_256=232,
    costs={
        "hashlib": {"sha1_us": 82, "sha256_us": 160},
        "cryptolib": {"key_us": 50, "block_us": 21},
    },
)
