"""What the emulator needs to know of a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tallystick.emulator.parts.nor_flash import FlashTiming

FLASH_BASE = {"rp2040": 0x10000000, "rp2350": 0x10000000, "stm32l4": 0x08000000}
"""Where a chip sees its flash."""

# Of MicroPython 1.28 with "extra features", as both ports are built for these boards.
_BUILT_IN = (
    " __main__ _asyncio array binascii builtins cmath collections cryptolib deflate errno framebuf "
    "gc hashlib heapq io json machine math micropython os platform random re select struct sys "
    "time uctypes vfs "
)
_BUILT_IN_MORE = {"rp2040": "_thread ", "rp2350": "_thread ", "stm32l4": ""}


@dataclass(frozen=True)
class Region:
    """A range of the flash: address from the start of the flash, size in bytes."""

    address: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class Currents:
    """Current by state, µA: of the chip, and of what hangs on it without being a part."""

    run: float
    idle: float  # waiting for an interrupt, clocks on
    light_sleep: float
    deep_sleep: float
    button: float = 0.0  # through its pull resistor while it is down
    leakage: float = 0.0  # always: capacitors, protection diodes, board


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board. Pins are numbers as `port/machine.py` makes them. Flash addresses are offsets from
    the start of the chip's flash."""

    name: str
    device: Literal["card", "reader"]
    chip: Literal["rp2040", "rp2350", "stm32l4"]
    heap: int  # bytes that firmware may use
    modules: tuple[str, ...]  # of the port, beyond those every chip has
    flash_size: int
    flash_timing: FlashTiming
    storage: Region  # what the board's MicroPython gives to its block device
    storage_block: int  # bytes, of that block device
    file_system: Region  # the image's part of the storage: all that it may write
    # What MicroPython mounts there, and in the slots. ROMFS is executed where it lies; it needs a
    # build of MicroPython that has it, and memory-mapped flash.
    image_format: Literal["littlefs", "romfs"] = "littlefs"
    identity: Region
    journal: Region
    button_pin: int = -1  # this and the next eleven are a card's
    button_active: int = 0  # level while pressed
    dock_pin: int = -1
    dock_active: int = 0
    display: Literal["memory_lcd", "ssd1306"] = "memory_lcd"
    display_bus: int = -1
    display_select_pin: int = -1  # memory LCD: chip select; SSD1306: not used
    display_power_pin: int = -1  # feeds the display; -1: it always has power
    cell_channel: int = -1  # ADC channel
    touch_pin: int = -1  # a reader's: the sensor's touch output
    touch_active: int = 0
    led_pin: int = -1  # on while the reader waits for a finger
    uart: int
    currents: Currents
    cell: str = ""  # the design's own, see parts/cells.py
    brown_out_mv: int = 0  # below it the chip stops
    boot_us: int  # reset to the first line of main.py
    wake_us: int  # out of light sleep
    read_us_per_256: int = 0  # CPU time of LittleFS to read 256 bytes
    import_us_per_256: int  # CPU time to make a module of 256 bytes of bytecode
    costs: Mapping[str, Mapping[str, int]]  # port module → attribute → µs
    # Likewise: what the board's definition for MicroPython says (pins, buses, clocks).
    port: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # A board whose firmware is updated in the field has a boot stage, two slots (the first erase
    # sector of each holds its header, the rest its file system) and the boot record.
    boot: Region | None = None
    slots: tuple[Region, ...] = ()
    record: Region | None = None

    @property
    def built_in(self) -> str:
        """Modules that are built into the board's MicroPython, as far as that of the emulator has
        them too, a space around each. The others are refused."""
        return _BUILT_IN + _BUILT_IN_MORE[self.chip]

    @property
    def mapped(self) -> tuple[int, int] | None:
        """Where the chip sees the storage area, and its size: of a board that mounts it there."""
        if self.image_format == "romfs":
            return FLASH_BASE[self.chip] + self.storage.address, self.storage.size
        return None
