"""The RP2040: watchdog scratch registers, reset causes, light sleep, its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tallystick.emulator.chips.chip import Chip, Surroundings
from tallystick.emulator.chips.pins import PinTable
from tallystick.emulator.chips.rp2040_pins import PINS

PWRON_RESET = 1
WDT_RESET = 3


class Rp2040:
    """Scratch registers survive a reset, not a power cycle. No pin ends deep sleep on this chip."""

    detunes_uart = True  # light sleep leaves the peripheral clock at the system's, not at 48 MHz
    scratch_address = 0x4005800C  # WATCHDOG_SCRATCH0 (RP2040 data sheet, 4.7.6)

    def __init__(self) -> None:
        self.scratch = [0] * 8
        self.cause = PWRON_RESET

    def power_up(self) -> None:
        self.scratch = [0] * 8
        self.cause = PWRON_RESET

    def reset(self, *, from_deep_sleep: bool) -> None:
        self.cause = WDT_RESET

    def read(self, address: int) -> int:
        index = (address - self.scratch_address) >> 2
        return self.scratch[index]

    def write(self, address: int, value: int) -> None:
        index = (address - self.scratch_address) >> 2
        self.scratch[index] = value

    def light_sleep(self, duration_us: int) -> None:
        """Leaves nothing armed."""

    def standby_us(self) -> int | None:
        """There is no deep sleep that ends by itself."""
        return None

    def wakes(self, pin: int, level: int) -> bool:
        return False

    def kept_pulls(self) -> list[int]:
        """Pins that are pulled down in deep sleep: there is none on this chip."""
        return []

    def adc(self, cell_mv: int) -> int:
        """Reading (0..65535) of the cell: VSYS over three, against 3.3 V, in twelve bits of which
        MicroPython makes sixteen."""
        raw = min(4095, cell_mv * 4096 // 9900)
        return raw << 4 | raw >> 8


def _registers(_: Surroundings) -> Rp2040:
    return Rp2040()


# Functions of a pin (RP2040 data sheet, table 2), as MicroPython names them.
_ALTERNATES = ("", "SPI", "UART", "I2C", "PWM", "SIO", "PIO0", "PIO1", "GPCK", "USB")


# Those that not every pin has, and the pins that have them.
_OF_SOME = {8: range(20, 26)}


def of_some(pins: Mapping[int, Iterable[int]]) -> list[tuple[int, int]]:
    """(number of a function, a bit for each pin that has it)."""
    return [(number, sum(1 << pin for pin in those)) for number, those in pins.items()]


def _pin_settings(pins: PinTable, names: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    own = {"functions": _ALTERNATES, "of_some": of_some(_OF_SOME), "clock_hz": 125_000_000}
    return {"machine_rp2": own | buses(pins, names)}


def buses(pins: PinTable, names: Mapping[str, int]) -> dict[str, Any]:
    """For each of a bus's signals the pins that can be it, a bit each."""
    masks = {
        f"{kind}{number}": [pins.mask_of(f"{kind}{number}_{signal}") for signal in signals]
        for kind, signals in (
            ("I2C", ("SCL", "SDA")), ("UART", ("TX", "RX")), ("SPI", ("SCK", "MOSI", "MISO")),
        )
        for number in (0, 1)
    }  # fmt: skip
    return {"buses": masks, "names": dict(names)}


CHIP = Chip(
    name="rp2040",
    clock_hz=125_000_000,
    registers=_registers,
    pins=PINS,
    pin_settings=_pin_settings,
    modelled=(Rp2040.scratch_address, Rp2040.scratch_address + 0x1F),
    default_pins={  # the Pico SDK's, for a Pico
        "UART0": (0, 1),
        "UART1": (4, 5),
        "I2C0": (5, 4),
        "I2C1": (7, 6),
        "SPI0": (18, 19, 16),
        "SPI1": (10, 11, 8),
    },
    analog={4: 706},  # the temperature sensor at 27 °C (data sheet, 4.9.5)
    watchdog_cause=WDT_RESET,
    epoch_s=1_609_459_200,  # 1 January 2021
    frozen=("asyncio",),
    absent_modules=("_thread", "_onewire", "onewire", "ds18x20", "dht", "neopixel"),
    flash_base=0x10000000,
    reports_flash_errors=False,
    own_modules=frozenset({"rp2"}),
    port_modules=("machine_rp2", "rp2"),
    platform="rp2",
    stubs="rp2",
    pin_lacks=(
        *("ALT_OPEN_DRAIN", "DRIVE_0", "DRIVE_1", "DRIVE_2", "IRQ_HIGH_LEVEL", "IRQ_LOW_LEVEL"),
        *("PULL_HOLD", "drive", "mode", "pull"),
    ),
    build_options=("-DPICO_NO_PICOTOOL=1",),
    uf2_family=0xE48BFF56,
    drive="RPI-RP2",  # RP2040 data sheet, 2.8.4
    prompt="with RP2040",
)
