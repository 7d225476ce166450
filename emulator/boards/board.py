"""What the emulator needs to know of a board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tallystick.common.errors import BadInputError
from tallystick.emulator.chips import CHIPS
from tallystick.emulator.chips.chip import Chip
from tallystick.emulator.parts.nor_flash import FlashTiming


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

    device: ClassVar[Literal["card", "reader"]]
    name: str
    machine: str = ""  # in `os.uname()`; else its name
    chip: Chip
    heap: int  # bytes that firmware may use
    modules: tuple[str, ...] = ()  # of `emulator/port`, beyond the chip's
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
    uart: int
    uart_pins: tuple[int, int]  # TX and RX of the chip that the line hangs on
    currents: Currents
    # Of firmware/boards/micropython, with its start-up code: a build of MicroPython of its own;
    # else the one that is named after its port.
    start_folder: str = ""
    micropython: str = (
        ""  # the board's name in MicroPython's own port, where no folder of ours has one
    )
    boot_us: int  # reset to the first line of main.py
    wake_us: int  # out of light sleep
    read_us_per_256: int = 0  # CPU time of LittleFS to read 256 bytes
    import_us_per_256: int  # CPU time to make a module of 256 bytes of bytecode
    costs: Mapping[str, Mapping[str, int]]  # port module → attribute → µs
    # Bus → its pins when firmware names none, where they are not the chip's own.
    default_pins: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pin_names: Mapping[str, int] = field(default_factory=dict)  # names of its own, such as LED
    # Likewise of the firmware's own, which work for long and touch no hardware: module → function →
    # µs of a call, and µs before each call of the function that is its last argument. Measured:
    # `tally second-opinion --costs`.
    call_us: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    # Likewise: what the board's definition for MicroPython says (pins, buses, clocks).
    port: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # A board whose firmware is updated in the field has a boot stage, two slots (the first erase
    # sector of each holds its header, the rest its file system) and the boot record.
    boot: Region | None = None
    slots: tuple[Region, ...] = ()
    record: Region | None = None

    def __post_init__(self) -> None:
        if self.chip not in CHIPS.values():
            name = getattr(self.chip, "name", self.chip)
            raise BadInputError(
                f"Board {self.name} has a chip {name!r}, of which there is no record.",
                kept="Nothing was started.",
                todo=f"Write emulator/chips/{name}.py and name it in chips/__init__.py, or use "
                f"one of: {', '.join(CHIPS)}.",
            )

    def pin_name(self, pin: int) -> str:
        """What the chip's data sheet calls it."""
        return self.chip.pins.names.get(pin, str(pin))

    def port_settings(self) -> dict[str, dict[str, Any]]:
        """Port module → what it is told of this board and its chip."""
        chip = self.chip
        settings: dict[str, dict[str, Any]] = {
            name: dict(values) for name, values in self.port.items()
        }
        settings["time"] = {"epoch_s": chip.epoch_s, "epoch_year": chip.epoch_year}
        settings["machine"] = {"line": self.uart}
        for module, values in chip.port_settings(self.pin_names).items():
            settings[module] = values | settings.get(module, {})
        return settings

    @property
    def storage_address(self) -> int:
        """Where the chip sees the storage area."""
        return self.chip.flash_base + self.storage.address

    @property
    def mapped(self) -> tuple[int, int] | None:
        """Where the chip sees the storage area, and its size: of a board that mounts it there."""
        if self.image_format == "romfs":
            return self.storage_address, self.storage.size
        return None


@dataclass(frozen=True, kw_only=True)
class CardBoard(Board):
    """What hangs on a card's pins. `_active`: the level while pressed, while docked."""

    device = "card"
    button_pin: int
    button_active: int
    dock_pin: int
    dock_active: int
    display: Literal["memory_lcd", "ssd1306"]
    display_bus: int
    display_pins: tuple[int, int]  # SCK and MOSI, or SCL and SDA
    display_select_pin: int = -1  # memory LCD: chip select; SSD1306: not used
    display_power_pin: int = -1  # feeds the display; -1: it always has power
    cell_channel: int  # ADC channel
    cell: str  # the design's own, see parts/cells.py
    brown_out_mv: int  # below it the chip stops


@dataclass(frozen=True, kw_only=True)
class ReaderBoard(Board):
    """What hangs on a reader's pins. USB feeds it."""

    device = "reader"
    touch_pin: int  # the sensor's touch output
    touch_active: int  # its level while a finger lies there
    led_pin: int  # on while the reader waits for a finger


def card_board(board: Board) -> CardBoard:
    """The board, which must be a card's. Raises BadInputError."""
    if not isinstance(board, CardBoard):
        raise _other_device(board, "card")
    return board


def reader_board(board: Board) -> ReaderBoard:
    """The board, which must be a reader's. Raises BadInputError."""
    if not isinstance(board, ReaderBoard):
        raise _other_device(board, "reader")
    return board


def _other_device(board: Board, wanted: str) -> BadInputError:
    return BadInputError(
        f"{board.name} is a {board.device}'s board, not a {wanted}'s.",
        kept="Nothing was started.",
        todo=f"Use a {wanted}'s board, and an image built for it.",
    )
