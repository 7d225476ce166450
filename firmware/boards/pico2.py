"""Raspberry Pi Pico 2: RP2350, the fingerprint reader.

R503 on UART1 (GP4 to the module's RXD, GP5 from its TXD), its touch output on GP6 (low while a
finger lies on it), USB as the only way to the outside. The root key is the chip's own random number
in its one-time programmable memory, rows 4 to 11 (RP2350 data sheet, 13.10), which no copy of the
flash chip tells. Its boot loader does, over USB, until the board is locked.
"""

import io

import machine
from machine import UART, Pin
from micropython import const

from boards.rp2_flash import Sectors, storage

# So that a board may export them.
from boards.rp2_flash import boot_record as boot_record  # noqa: PLC0414
from boards.rp2_flash import slot as slot  # noqa: PLC0414
from boards.rp2_flash import slot_system as slot_system  # noqa: PLC0414

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from select import poll

    from lib.usbhid import UsbHid
    from typed.board import Flash, Hid, Once, Serial

NAME = "pico2"

_IDENTITY_BLOCK = const(640)  # of the storage area
_RECORDS_BLOCK = const(641)
_OTP_RANDOM = const(0x40130008)  # two rows of 16 bits a word
_OTP_ATTESTATION = const(0x40131A00)  # likewise, rows 0xD00 to 0xD0F: page 52

_touch = Pin(6, Pin.IN, Pin.PULL_UP)
_led = Pin(25, Pin.OUT)
_uart: "UART | None" = None
_hid: "UsbHid | None" = None
_poller: "poll | None" = None


class _Wake(io.IOBase):
    """Ready while a report waits or the touch output has moved, so that one poll waits for
    everything.
    """

    moved = False

    def ioctl(self, request: int, flags: int) -> int:
        if request == 3:
            return flags & 1 if self.moved or _hid is not None and _hid.any() else 0
        return -1


_wake = _Wake()


def _edge(_pin: "Pin") -> None:
    _wake.moved = True


def cold() -> bool:
    """Power came just now. A restart of the firmware opens no window for a reset."""
    return machine.reset_cause() == machine.PWRON_RESET


def restart() -> None:
    """As after power-on; never returns."""
    machine.reset()


def sensor_uart() -> "Serial":
    """The line to the sensor, 57600 baud, started when first asked for."""
    global _uart
    if _uart is None:
        _uart = UART(1, 57600, tx=Pin(4), rx=Pin(5), rxbuf=128)
        _touch.irq(_edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)
        _set_poller()
    return _uart


def hid() -> "Hid":
    """The USB interface, started."""
    global _hid
    from lib.usbhid import UsbHid

    _hid = UsbHid(machine.USBDevice())
    _set_poller()
    _hid.start()
    return _hid


def _set_poller() -> None:
    global _poller
    import select

    _poller = select.poll()
    _poller.register(_wake, select.POLLIN)
    if _uart is not None:
        _poller.register(_uart, select.POLLIN)


def wait(ms: int) -> None:
    """Up to `ms`, less when a report or a byte arrives or the touch output moves."""
    assert _poller is not None  # the program starts with `hid`
    _poller.poll(ms)
    _wake.moved = False


def touched() -> bool:
    """Whether a finger lies on the sensor."""
    return not _touch.value()


def led(on: bool) -> None:
    """The board's light."""
    _led.value(on)


def random(n: int) -> bytes:
    """n bytes of the chip's random number generator."""
    from os import urandom

    return urandom(n)


def _burnt(address: int, size: int) -> bytes:
    # A word comes with its sign, which an int in bytes has not.
    words = [machine.mem32[address + i] & 0xFFFFFFFF for i in range(0, size, 4)]
    return b"".join([word.to_bytes(4, "little") for word in words])


def root() -> bytes:
    """The chip's own key, 16 bytes."""
    return _burnt(_OTP_RANDOM, 16)


def attestation_key() -> bytes:
    """32 bytes that the factory burnt; zeros where it did not."""
    return _burnt(_OTP_ATTESTATION, 32)


def once() -> "Once":
    """Rows that are burnt once."""
    from boards import once

    return once


def identity(offset: int, size: int) -> bytearray:
    """A part of the segment that the factory wrote."""
    part = bytearray(size)
    storage.readblocks(_IDENTITY_BLOCK, part, offset)
    return part


def records() -> "Flash":
    """Where the reader's records are kept: sectors that no file system reaches."""
    return Sectors(_RECORDS_BLOCK, 64)
