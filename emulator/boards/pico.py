"""Raspberry Pi Pico (RP2040), a development kit: SSD1306 display, button on GP15, dock sense on
GP14, cell on ADC3 through the board's divider by three.

Figures: RP2040 data sheet and Pico data sheet (run about 24 mA at 125 MHz, lightsleep about 1.3 mA
with the board's regulator), W25Q16JV data sheet (256-byte page 0.4 ms typical, 4 KiB sector erase
45 ms, 100,000 cycles); CPU costs measured on an instruction-level RP2040 under MicroPython 1.26.1
(docs/numbers.md).
"""

from tallystick.emulator.boards.board import Board, Currents, Region
from tallystick.emulator.parts.nor_flash import FlashTiming

_STORAGE = 0xA0000  # 2 MiB of flash, the last 1408 KiB for storage
_SECTOR = 4096

BOARD = Board(
    name="pico",
    device="card",
    chip="rp2040",
    heap=64 * 1024,
    modules=(
        "machine_rp2",
        "rp2",
    ),
    flash_size=2 * 1024 * 1024,
    flash_timing=FlashTiming(
        program_unit=256,
        program_us=640,
        sector=_SECTOR,
        erase_us=45_000,
        program_ua=15_000,
        erase_ua=15_000,
        endurance=100_000,
    ),
    storage=Region(_STORAGE, 352 * _SECTOR),
    storage_block=_SECTOR,
    file_system=Region(_STORAGE, 333 * _SECTOR),
    boot=Region(_STORAGE, 20 * _SECTOR),
    slots=(
        Region(_STORAGE + 20 * _SECTOR, 150 * _SECTOR),
        Region(_STORAGE + 170 * _SECTOR, 150 * _SECTOR),
    ),
    record=Region(_STORAGE + 333 * _SECTOR, 2 * _SECTOR),
    identity=Region(_STORAGE + 335 * _SECTOR, _SECTOR),
    journal=Region(_STORAGE + 336 * _SECTOR, 16 * _SECTOR),
    button_pin=15,
    button_active=0,
    dock_pin=14,
    dock_active=1,
    display="ssd1306",
    display_bus=0,
    display_select_pin=-1,
    display_power_pin=-1,
    cell_channel=29,
    uart=0,
    currents=Currents(
        run=24_000, idle=12_000, light_sleep=1_300, deep_sleep=1_300, button=66, leakage=0.1
    ),
    cell="CR2032",
    brown_out_mv=1_800,
    boot_us=13_500,
    wake_us=500,
    read_us_per_256=47,
    import_us_per_256=2_280,
    costs={
        "hashlib": {"sha1_us": 40, "sha256_us": 70},
        "cryptolib": {"key_us": 61, "block_us": 26},
    },
)
