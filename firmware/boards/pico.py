"""Raspberry Pi Pico: RP2040, a development kit.

Button from GP15 to ground, dock sense on GP14, SSD1306 on I2C0 (GP4 SDA, GP5 SCL), serial line on
UART0 (GP0, GP1), cell on VSYS, read on ADC3 through the board's divider by three. No pin can end
this chip's deep sleep: "off" is light sleep until an edge (about 1.3 mA), then a reset. Not a card
for a coin cell.
"""

from time import ticks_ms as ticks_ms  # noqa: PLC0414 (so that a board may export it)

import machine
from machine import ADC, I2C, UART, Pin
from micropython import const

from boards.rp2_flash import Sectors, storage

# So that a board may export them.
from boards.rp2_flash import boot_record as boot_record  # noqa: PLC0414
from boards.rp2_flash import slot as slot  # noqa: PLC0414
from boards.rp2_flash import slot_system as slot_system  # noqa: PLC0414

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from select import poll

    from typed.board import Display, Flash, Serial

NAME = "pico"
HEAP = 73728  # bytes that MicroPython must give, see card/selftest.py

# Why the card started, and what it left itself with `off`, while power held since.
COLD = const(0)
BUTTON = const(1)
DOCK = const(2)
CLEAN = const(4)  # everything in flash is settled
EMPTY = const(8)  # the cell was critical

# Blocks of the storage area, behind those of boards/rp2_flash.py.
_IDENTITY_BLOCK = const(335)
_JOURNAL_BLOCK = const(336)

scratch = 0x4005800C  # WATCHDOG_SCRATCH0: survives a reset, is zero after power-on
_MARK = const(0x1C0DE000)

_frame = bytearray(1025)  # set aside before imports scatter the heap
_button = Pin(15, Pin.IN, Pin.PULL_UP)
_dock = Pin(14, Pin.IN, Pin.PULL_DOWN)
_uart: "UART | None" = None
_poller: "poll | None" = None


def _edge(_pin: "Pin") -> None:
    """Only there to end a light sleep."""


def start() -> int:
    """Why the card runs: COLD, or BUTTON or DOCK with the flags given to `off`."""
    marker: int = machine.mem32[scratch]
    machine.mem32[scratch] = 0
    _button.irq(_edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)
    _dock.irq(_edge, Pin.IRQ_RISING | Pin.IRQ_FALLING)
    return marker & 15 if marker & ~15 == _MARK else COLD


def off(flags: int) -> None:
    """Sleeps until a press or docking, then resets; never returns.

    flags: CLEAN and EMPTY, as the next `start` shall know them.
    """
    while not _button.value():
        machine.lightsleep(3600000)  # stuck down: wait for its release
    was_docked = _dock.value()
    while True:
        machine.lightsleep(3600000)
        if not _button.value():
            why = BUTTON
            break
        if _dock.value() and not was_docked:
            why = DOCK
            break
        was_docked = _dock.value()
    machine.mem32[scratch] = _MARK | why | flags
    machine.reset()


def button() -> int:
    """True while the button is down."""
    return not _button.value()


def docked() -> int:
    """1 while the card lies in its dock, else 0."""
    return _dock.value()


def wait(ms: int) -> None:
    """Up to `ms`, less on an edge of the button or the dock, or (docked) on a byte."""
    if _dock.value():
        serial()
        assert _poller is not None  # as `serial` left it
        _poller.poll(ms if ms < 20 else 20)
    else:
        global _uart
        _uart = None  # light sleep detunes it: to be made again
        machine.lightsleep(ms)


def serial() -> "Serial":
    """The line to the station, 115200 baud, made when it is first needed."""
    global _uart, _poller
    if _uart is None:
        import select

        _uart = UART(0, 115200, rxbuf=512)
        _poller = select.poll()
        _poller.register(_uart, select.POLLIN)
    return _uart


def display() -> "Display":
    """The display, set up. Its driver is imported here: most of the time it is not needed. Raises
    OSError when none answers.
    """
    from lib.ssd1306 import Ssd1306

    return Ssd1306(I2C(0, scl=Pin(5), sda=Pin(4), freq=400000), buffer=_frame)


def cell_mv() -> int:
    """Millivolts of the supply, under the load of the running chip."""
    return ADC(29).read_u16() * 9900 >> 16


def random(n: int) -> bytes:
    """n bytes of the chip's random number generator."""
    from os import urandom

    return urandom(n)


def identity() -> bytes:
    """The factory's segment, 134 bytes; 0xFF where nothing was written."""
    segment = bytearray(134)
    storage.readblocks(_IDENTITY_BLOCK, segment, 0)
    return bytes(segment)


def journal() -> "Flash":
    """Where the card's state is kept."""
    return Sectors(_JOURNAL_BLOCK, 16)


def restart() -> None:
    """As after power-on; never returns."""
    machine.reset()
