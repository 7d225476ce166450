"""What firmware may ask of the module `board`, which is one of firmware/boards. `make lint` holds
every board to it. Only the type checker reads this folder: nothing of it is in an image.

The small protocols are what modules need that know no board; `Card` and `Reader` are the whole.
"""

from typing import Protocol

import framebuf

from typed.kinds import Readable, Ticks, Writable


class Flash(Protocol):
    """`SECTORS` sectors of `SECTOR` bytes, programmed in multiples of `UNIT` bytes. May have
    `is_blank(sector) -> bool`."""

    # Read only: a board has them of the class or of the object.
    @property
    def SECTORS(self) -> int: ...
    @property
    def SECTOR(self) -> int: ...
    @property
    def UNIT(self) -> int: ...

    def read(self, address: int, buf: Writable, /) -> None: ...
    def program(self, address: int, buf: Readable, /) -> None:
        """Raises OSError when the chip reports a failure."""

    def erase(self, sector: int, /) -> None:
        """Raises OSError when the chip reports a failure."""


class Display(Protocol):
    """What MemoryLcd and Ssd1306 have in common. Sizes and places in pixels."""

    width: int
    height: int
    ink: int
    paper: int
    fb: framebuf.FrameBuffer

    def empty(self) -> None:
        """Nothing but paper in the image in memory; the glass keeps what it shows."""

    def show(self, y0: int = 0, y1: int | None = None) -> None:
        """Send rows y0 to y1 - 1 to the glass; all of them unless told."""

    def vcom(self, now: bool = True) -> None:
        """At least once a second while an image is up."""

    def clear(self) -> None: ...
    def off(self) -> None: ...


class Serial(Protocol):
    """A UART. Numbers of bytes; None when nothing could be moved."""

    def any(self) -> int: ...
    def readinto(self, buf: Writable, nbytes: int, /) -> int | None: ...
    def write(self, buf: Readable, /) -> int | None: ...


class Hid(Protocol):
    """Reports of 64 bytes."""

    def any(self) -> int: ...
    def read(self, report: bytearray) -> bool:
        """False when there is none."""

    def write(self, report: Readable) -> None: ...


class Button(Protocol):
    def button(self) -> int:
        """Not 0 while it is down."""

    def wait(self, ms: int) -> None:
        """Light sleep up to `ms` and a step of its clock (4 ms), less when something changes."""

    def ticks_ms(self) -> Ticks:
        """Goes on in light sleep."""


class Cell(Protocol):
    def cell_mv(self) -> int:
        """Millivolts under the load of the running chip."""


class Slots(Protocol):
    """What boot stage and update ask of every board."""

    @property
    def NAME(self) -> str: ...
    def boot_record(self) -> Flash: ...
    def slot(self, n: int) -> Flash: ...
    def slot_system(self, n: int) -> object:
        """To be mounted. Raises OSError when there is none."""

    def restart(self) -> None:
        """Never returns."""


class Card(Button, Cell, Slots, Protocol):
    """The board of a card. docs/guides/porting.md says what each of these promises."""

    @property
    def HEAP(self) -> int:
        """Bytes."""

    @property
    def COLD(self) -> int: ...
    @property
    def BUTTON(self) -> int: ...
    @property
    def DOCK(self) -> int: ...
    @property
    def CLEAN(self) -> int: ...
    @property
    def EMPTY(self) -> int: ...

    def start(self) -> int:
        """COLD, or BUTTON or DOCK with the flags given to `off`."""

    def off(self, flags: int) -> None:
        """Never returns."""

    def docked(self) -> int: ...
    def serial(self) -> Serial: ...
    def display(self) -> Display: ...
    def random(self, n: int) -> bytes: ...
    def identity(self) -> bytes:
        """134 bytes."""

    def journal(self) -> Flash: ...


class Once(Protocol):
    """Rows of 24 bits that are burnt once, as a module."""

    @property
    def ROWS(self) -> int: ...
    def read(self, row: int, /) -> int:
        """24 bits."""

    def burn(self, row: int, bits: int, /) -> bool:
        """False when the chip refuses."""


class Touch(Protocol):
    def touched(self) -> bool: ...
    def sensor_uart(self) -> Serial: ...


class Reader(Touch, Slots, Protocol):
    """The board of a fingerprint reader."""

    def cold(self) -> bool:
        """Power came just now."""

    def hid(self) -> Hid: ...
    def wait(self, ms: int) -> None:
        """Up to `ms`, less when something happens."""

    def led(self, on: bool) -> None: ...
    def random(self, n: int) -> bytes: ...
    def root(self) -> bytes:
        """The chip's own key, 16 bytes."""

    def attestation_key(self) -> bytes:
        """32 bytes that the factory burnt; zeros where it did not."""

    def identity(self, offset: int, size: int) -> Readable: ...
    def records(self) -> Flash: ...
    def once(self) -> Once: ...
