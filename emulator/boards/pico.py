"""Raspberry Pi Pico (RP2040), a development kit: SSD1306 display, button on GP15, dock sense on
GP14, cell on ADC3 through the board's divider by three.

Figures: RP2040 data sheet and Pico data sheet (run about 24 mA at 125 MHz, lightsleep about 1.3 mA
with the board's regulator); CPU costs measured on an instruction-level RP2040 under MicroPython
1.26.1 (docs/findings/numbers.md).
"""

from tallystick.emulator.boards.board import CardBoard, Currents, Region
from tallystick.emulator.boards.w25q import SECTOR, TIMING
from tallystick.emulator.chips import rp2040

_STORAGE = 0xA0000  # 2 MiB of flash, the last 1408 KiB for storage

BOARD = CardBoard(
    name="pico",
    machine="Raspberry Pi Pico with RP2040",
    micropython="RPI_PICO",
    chip=rp2040.CHIP,
    heap=72 * 1024,
    flash_size=2 * 1024 * 1024,
    flash_timing=TIMING,
    storage=Region(_STORAGE, 352 * SECTOR),
    storage_block=SECTOR,
    file_system=Region(_STORAGE, 333 * SECTOR),
    boot=Region(_STORAGE, 20 * SECTOR),
    slots=(
        Region(_STORAGE + 20 * SECTOR, 150 * SECTOR),
        Region(_STORAGE + 170 * SECTOR, 150 * SECTOR),
    ),
    record=Region(_STORAGE + 333 * SECTOR, 2 * SECTOR),
    identity=Region(_STORAGE + 335 * SECTOR, SECTOR),
    journal=Region(_STORAGE + 336 * SECTOR, 16 * SECTOR),
    button_pin=15,
    button_active=0,
    dock_pin=14,
    dock_active=1,
    display="ssd1306",
    display_bus=0,
    display_pins=(5, 4),
    cell_channel=29,
    uart=0,
    uart_pins=(0, 1),
    pin_names={"LED": 25},
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
    call_us={
        "builtins": {"pow": (84_600, 0)},
        # For all of a signature, see nucleo_l476rg.py.
        "lib.ed25519": {"encoded": (1_417_000, 0)},
    },
)
