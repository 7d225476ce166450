"""Raspberry Pi Pico 2 (RP2350), the fingerprint reader: R503 on UART1, its touch output on GP6,
USB.

Figures: RP2350 data sheet and Pico 2 data sheet. CPU costs are those measured on an RP2040 at 125
MHz, scaled by clock.
"""

from tallystick.emulator.boards.board import Currents, ReaderBoard, Region
from tallystick.emulator.boards.w25q import SECTOR, TIMING
from tallystick.emulator.chips import rp2350

_STORAGE = 0x100000  # 4 MiB of flash, the last 3 MiB for storage

BOARD = ReaderBoard(
    name="pico2",
    machine="Raspberry Pi Pico2 with RP2350",
    micropython="RPI_PICO2",
    chip=rp2350.CHIP,
    heap=140 * 1024,
    modules=("usb_device",),
    flash_size=4 * 1024 * 1024,
    flash_timing=TIMING,
    storage=Region(_STORAGE, 768 * SECTOR),
    storage_block=SECTOR,
    file_system=Region(_STORAGE, 333 * SECTOR),
    boot=Region(_STORAGE, 20 * SECTOR),
    slots=(
        Region(_STORAGE + 20 * SECTOR, 150 * SECTOR),
        Region(_STORAGE + 170 * SECTOR, 150 * SECTOR),
    ),
    record=Region(_STORAGE + 333 * SECTOR, 2 * SECTOR),
    identity=Region(_STORAGE + 640 * SECTOR, SECTOR),
    journal=Region(_STORAGE + 641 * SECTOR, 64 * SECTOR),
    touch_pin=6,
    touch_active=0,
    led_pin=25,
    uart=1,
    uart_pins=(4, 5),
    pin_names={"LED": 25},
    currents=Currents(run=26_000, idle=14_000, light_sleep=1_500, deep_sleep=1_500),
    boot_us=6_200,
    wake_us=500,
    read_us_per_256=50,
    import_us_per_256=232,
    costs={
        "hashlib": {"sha1_us": 82, "sha256_us": 160},
        "cryptolib": {"key_us": 50, "block_us": 21},
    },
    call_us={
        "builtins": {"pow": (30_600, 0)},
        # The last step of a signature, made or checked, for all of it: 256 doublings, 192
        # additions on the average, SHA-512. Calls of those would take room from the firmware.
        "lib.ed25519": {"encoded": (532_500, 0)},
        "lib.p256": {"public_key": (0, 4_944), "sign": (0, 4_913), "shared_x": (0, 4_282)},
    },
)
