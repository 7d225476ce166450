"""What the emulator, the build of images and the flashing have to know of a chip."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from tallystick.emulator.chips.pins import PinTable
from tallystick.emulator.parts.nor_flash import NorFlash

# Of MicroPython 1.28 with "extra features", as its ports are built for our boards.
_BUILT_IN = (
    "__main__ _asyncio array binascii builtins cmath collections cryptolib deflate errno framebuf "
    "gc hashlib heapq io json machine math micropython os platform random re select struct sys "
    "time uctypes vfs"
)


_WORD = 4  # bytes of a register


class Registers(Protocol):
    """What is particular to a chip. Addresses as it sees them, values of 32 bits, times in µs."""

    detunes_uart: bool  # light sleep leaves the serial line's clock wrong
    cause: int  # of the last reset, as `machine.reset_cause` says it

    def power_up(self) -> None: ...

    def reset(self, *, from_deep_sleep: bool) -> None: ...

    def read(self, address: int) -> int: ...

    def write(self, address: int, value: int) -> None: ...

    def light_sleep(self, duration_us: int) -> None: ...

    def standby_us(self) -> int | None: ...

    def wakes(self, pin: int, level: int) -> bool: ...

    def adc(self, cell_mv: int) -> int: ...

    def kept_pulls(self) -> list[int]: ...


class FlashController(Protocol):
    """Registers of a chip whose firmware programs its flash through them."""

    def double_word(self, address: int, data: bytes) -> None: ...


@runtime_checkable
class OneTimeRows(Protocol):
    """Registers of a chip that has memory whose bits only ever become 1. rows: row → its bits;
    burns: pulses given; on_burn: told of each pulse before it is given, (row, new bits) → those
    that it gives; on_change: told when a row has changed."""

    rows: dict[int, int]
    burns: int
    on_burn: Callable[[int, int], int] | None
    on_change: Callable[[], None] | None


class Surroundings(NamedTuple):
    """What a chip's registers reach: the flash, its program and erase with their cost in time
    (→ whether they worked), the chip's random numbers, and what it runs from at this moment."""

    flash: NorFlash
    program: Callable[[int, bytes], bool]
    erase: Callable[[int], bool]
    rng: random.Random
    supply_mv: Callable[[], int]


PinSettings = Callable[[PinTable, Mapping[str, int]], dict[str, dict[str, Any]]]
"""What the port's own modules are told of the pins, and of the board's names for them."""


@dataclass(frozen=True)
class OpenOcd:
    """How OpenOCD reaches the chip: its two configuration files, and the low twelve bits of the
    word at `identity_register`, by which the chip is known. unique_register: three words of its
    own number, 0 where it has none."""

    interface: str
    target: str
    identity_register: int
    identity: int
    unique_register: int = 0


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip. A way of flashing that it does not have is empty or None."""

    name: str
    clock_hz: int
    registers: Callable[[Surroundings], Registers]
    pins: PinTable
    pin_settings: PinSettings | None = None
    # First and last address of the registers that are modelled, one range after the other.
    modelled: tuple[int, ...]
    # Bus → its pins when firmware names none: TX and RX, SCL and SDA, or SCK, MOSI and MISO.
    default_pins: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    analog: Mapping[int, int] = field(default_factory=dict)  # mV at a channel of its own
    watchdog_cause: int  # what `machine.reset_cause` says after the watchdog bit
    epoch_year: int = 1970  # that it counts from
    epoch_s: int = 0  # what `time.time` says at power-on
    frozen: tuple[str, ...] = ()  # modules that its port brings as Python, which are emulated
    absent_modules: tuple[str, ...] = ()  # that it brings as well, and that are not
    flash_base: int  # where it sees its flash
    reports_flash_errors: bool  # a program or an erase that failed is said so
    factory_words: Mapping[int, int] = field(default_factory=dict)  # address → what never changes
    own_modules: frozenset[str]  # of its port alone, that firmware may import
    port_modules: tuple[str, ...]  # of `emulator/port`, beyond those that every chip has
    more_built_in: tuple[str, ...] = ()  # of its port alone, that firmware does not use
    platform: str  # what `sys.platform` says
    stubs: str  # the port whose published stubs declare what there is
    pin_lacks: tuple[str, ...] = ()  # of what those declare of `Pin`: dir(Pin) of MicroPython 1.28
    build_options: tuple[str, ...] = ()  # of the port's own build, so that it fetches nothing
    uf2_family: int | None = None
    uf2_padding: int | None = None  # address of a block in its UF2 files that is no content
    drive: str = ""  # Board-ID of its boot ROM's drive
    prompt: str = ""  # in `os.uname().machine` of a MicroPython that opens a prompt
    openocd: OpenOcd | None = None
    dfu: bool = False  # its boot ROM answers on USB as ST's do (AN2606)
    lock: Literal["", "option bytes", "burnt rows"] = ""  # what keeps a board of it locked for ever

    def port_settings(self, names: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """What the port's own modules are told of the pins. names: those that the board gives."""
        return self.pin_settings(self.pins, names) if self.pin_settings is not None else {}

    @property
    def modelled_registers(self) -> tuple[int, ...]:
        """Those that are modelled one by one."""
        return tuple(first for first, last in self._modelled_pairs() if last - first < _WORD)

    @property
    def modelled_ranges(self) -> tuple[int, ...]:
        """The others: first and last address, one range after the other."""
        pairs = [pair for pair in self._modelled_pairs() if pair[1] - pair[0] >= _WORD]
        return tuple(address for pair in pairs for address in pair)

    def _modelled_pairs(self) -> list[tuple[int, int]]:
        return list(zip(self.modelled[::2], self.modelled[1::2], strict=True))

    @property
    def built_in(self) -> str:
        """Modules that are built into its MicroPython, as far as that of the emulator has them too,
        a space around each. The others are refused."""
        return f" {' '.join((_BUILT_IN, *self.more_built_in, *self.frozen))} "
