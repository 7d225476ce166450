"""SSD1306 OLED controller, 128 × 64, on I²C (Solomon Systech data sheet rev. 1.5, sections 8-10).

The image goes into the display's RAM before the display is switched on, so what the RAM held at
power-up is never seen.
"""

import framebuf
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from machine import I2C

_COMMANDS = const(0x00)  # control byte: only commands follow
_DATA = const(0x40)  # control byte: only data follow
_SET_CONTRAST = const(0x81)
_DISPLAY_OFF = const(0xAE)
_DISPLAY_ON = const(0xAF)
_NOP = const(0xE3)

# Control byte, then commands in the order of the data sheet's software initialization flow.
_INIT = (
    b"\x00"
    b"\xae"  # display off (sleep)
    b"\xd5\x80"  # oscillator at its reset value, divide by 1
    b"\xa8\x3f"  # 64 rows
    b"\xd3\x00\x40"  # no offset, start at line 0
    b"\x8d\x14"  # charge pump on while the display is on
    b"\x20\x00"  # horizontal addressing
    b"\xa1\xc8"  # column 127 and row 63 first: upright with the connector on top
    b"\xda\x12"  # alternative COM pins
    b"\xd9\xf1"  # pre-charge for the pump's 7.5 V
    b"\xdb\x20"  # VCOMH at 0.77 VCC
    b"\xa4\xa6"  # show RAM, 1 is lit
)


class Ssd1306:
    """The same interface as MemoryLcd. Raises OSError when the controller does not acknowledge."""

    ink = 1
    paper = 0

    def __init__(
        self,
        i2c: "I2C",
        addr: int = 0x3C,
        width: int = 128,
        height: int = 64,
        contrast: int = 0x7F,
        buffer: "bytearray | None" = None,
    ) -> None:
        """buffer: 1 + width × height / 8 bytes, given by a board that set them aside early, before
        imports have scattered the heap."""
        self.width = width
        self.height = height
        self._i2c = i2c
        self._addr = addr
        self._on = False
        # One control byte in front, so that showing is one write without copies.
        self._wire = buffer or bytearray(1 + width * height // 8)
        self._view = memoryview(self._wire)
        self._window = bytearray((_COMMANDS, 0x21, 0, width - 1, 0x22, 0, 0))
        self._short = bytearray(3)
        self.fb = framebuf.FrameBuffer(self._view[1:], width, height, framebuf.MONO_VLSB)
        i2c.writeto(addr, _INIT)
        self.contrast(contrast)

    def empty(self) -> None:
        """Nothing but paper in the image in memory; the glass keeps what it shows."""
        self.fb.fill(self.paper)

    def contrast(self, level: int) -> None:
        """Segment current, 0 (least) to 255."""
        self._short[1] = _SET_CONTRAST
        self._short[2] = level
        self._i2c.writeto(self._addr, self._short)

    def show(self, y0: int = 0, y1: "int | None" = None) -> None:
        """Send the pages of 8 rows that hold rows y0 to y1 - 1; all of them unless told."""
        y1 = self.height if y1 is None else min(y1, self.height)
        y0 = max(y0, 0)
        if y0 >= y1:
            return
        self._send(y0 >> 3, (y1 - 1) >> 3)
        if not self._on:
            self._on = True
            self._switch(_DISPLAY_ON)

    def vcom(self, now: bool = True) -> None:
        """Nothing to do: only liquid crystals need it."""

    def clear(self) -> None:
        """Blank the glass and the image in memory."""
        self.empty()
        self.show()

    def off(self) -> None:
        """Leave nothing in the display's RAM, and put it to sleep. The next `show` wakes it."""
        self.empty()
        self._send(0, (self.height >> 3) - 1)
        self._on = False
        self._switch(_DISPLAY_OFF)

    def _send(self, first: int, last: int) -> None:
        """Send pages first to last, inclusive."""
        self._window[5] = first
        self._window[6] = last
        self._i2c.writeto(self._addr, self._window)
        # The control byte borrows the place of the byte before the first page.
        start = first * self.width
        before = self._wire[start]
        self._wire[start] = _DATA
        self._i2c.writeto(self._addr, self._view[start : (last + 1) * self.width + 1])
        self._wire[start] = before

    def _switch(self, command: int) -> None:
        self._short[1] = command
        self._short[2] = _NOP
        self._i2c.writeto(self._addr, self._short)
