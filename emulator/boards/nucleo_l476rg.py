"""NUCLEO-L476RG (STM32L476RG), the low-power reference: memory LCD, button on PA0 (WKUP1), dock
contact on PC5 (WKUP5), cell measured through the internal reference, panel fed from PB5.

Figures: STM32L476xx data sheet (DS10198, as DocID025976 revision 4; later ones count their tables
otherwise), typical at 25 °C and 3.0 V. CoreMark from flash at 26 MHz in range 2: 3.1 mA (table 29);
the PLL at 104 MHz 0.21 mA (table 50, between its lines) and MSI 0.01 mA (table 48), also in Sleep,
0.92 mA (table 32); Stop 2 with the real-time clock on LSI 1.64 µA (table 34); Shutdown 64 nA (table
38); flash double word 82 µs, page erase 22 ms, 3.4 mA (table 51), 10,000 cycles (table 52); pull
resistor 40 kΩ (table 58); 1.71 V at least (table 22).
CPU costs are scaled from figures measured on an RP2040 at 125 MHz (docs/findings/numbers.md): by
clock, and by what a Cortex-M4 gets done in a cycle beside a Cortex-M0+ (CoreMark/MHz 3.4 and 2.46);
imports are set so that a press takes what an instruction-level STM32L476 counts. Of each second
that a code is up that one counts 58,000 instructions, most of them bytecode that no call charges:
`wake_us` has them.
"""

from tallystick.emulator.boards.board import CardBoard, Currents, Region
from tallystick.emulator.chips import stm32l4
from tallystick.emulator.parts.nor_flash import FlashTiming

_CPU_SCALE = 26 / 125 / 0.72  # work a second, beside the board that was measured


def _us(at_125_mhz: float) -> int:
    return round(at_125_mhz / _CPU_SCALE)


BOARD = CardBoard(
    name="nucleo_l476rg",
    machine="TALLY_NUCLEO_L476RG with STM32L476RG",
    chip=stm32l4.CHIP,
    heap=64 * 1024,
    flash_size=1024 * 1024,
    flash_timing=FlashTiming(
        program_unit=8,
        program_us=82,
        sector=2048,
        erase_us=22_000,
        program_ua=3_400,
        erase_ua=3_400,
        endurance=10_000,
        once=True,
    ),
    storage=Region(0x80000, 0x80000),
    storage_block=512,
    file_system=Region(0x80000, 0x7C000),
    image_format="romfs",
    boot=Region(0x80000, 0x4000),
    slots=(Region(0x84000, 0x3C000), Region(0xC0000, 0x3C000)),
    record=Region(0x72800, 0x1000),
    identity=Region(0x73800, 0x800),
    journal=Region(0x74000, 0xC000),
    button_pin=0x00,
    button_active=1,
    dock_pin=0x25,
    dock_active=1,
    display="memory_lcd",
    display_bus=1,
    display_pins=(0x05, 0x07),
    display_select_pin=0x16,
    display_power_pin=0x15,
    cell_channel=256,
    uart=1,
    uart_pins=(0x09, 0x0A),
    default_pins={"UART1": (0x09, 0x0A), "SPI1": (0x05, 0x07)},
    currents=Currents(
        run=3_320, idle=1_140, light_sleep=1.64, deep_sleep=0.064, button=75, leakage=0.1
    ),
    cell="CARD25",
    brown_out_mv=1_710,
    start_folder="TALLY_NUCLEO_L476RG",
    boot_us=9_500,
    wake_us=1_230,
    import_us_per_256=_us(695),
    costs={
        "hashlib": {"sha1_us": _us(40), "sha256_us": _us(70)},
        "cryptolib": {"key_us": _us(61), "block_us": _us(26)},
        "time": {"stops_in_light_sleep": 1},
        # LSI's 32 kHz, of which the port counts 32,768 to a second.
        "machine": {"has_rtc_registers": 1, "light_ms": 1024},
    },
    call_us={
        "builtins": {"pow": (318_100, 0)},
        # The last step of a signature, made or checked, for all of it: 256 doublings, 192
        # additions on the average, SHA-512. Calls of those would take room from the firmware.
        "lib.ed25519": {"encoded": (4_695_000, 0)},
    },
    port={
        "machine_stm32": {
            "pins": ("A0", "A5", "A7", "A9", "A10", "B5", "B6", "C5"),
            "buses": {"SPI": (1,), "UART": (1,), "I2C": ()},
            "bus_pins": {"SPI1": (0x05, 0x07), "UART1": (0x09, 0x0A)},
            "pclk_hz": 26_000_000,
        },
        "link": {"clock_mhz": 26, "_CALL_US": _us(20), "_LOOK_US": _us(13)},
    },
)
