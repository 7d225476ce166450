"""Sharp memory LCD (LS013B7DH03 class): reflective, 1 bit a pixel, keeps its image for a few µW.

SPI mode 0, at most 1.1 MHz, chip select active high, least significant bit first. The panel's
serial protocol is in the LS013B7DH03 specification (input signal timing charts). Many SPI masters
shift only the most significant bit first, so the line address is bit-reversed here; mode bits and
pixels are written in the order in which they leave.
"""

import framebuf
from micropython import const

TYPE_CHECKING = const(0)
if TYPE_CHECKING:
    from machine import SPI, Pin

# First byte of a transfer, M0 leaves first.
_WRITE = const(0x80)  # M0: lines follow
_VCOM = const(0x40)  # M1: polarity of the common electrode while EXTMODE is low
_ALL_CLEAR = const(0x20)  # M2: every pixel becomes white


# Four bits, the other way round.
_REVERSED = b"\x00\x08\x04\x0c\x02\x0a\x06\x0e\x01\x09\x05\x0d\x03\x0b\x07\x0f"


class MemoryLcd:
    """A panel of width × height pixels, with the image in `fb` until `show` sends it.

    While an image is up, `vcom` must be called at least once a second, or the liquid crystal ages.
    """

    # The panel's pixels are dark at 0, so that is the colour to draw with.
    ink = 0
    paper = 1

    def __init__(
        self,
        spi: "SPI",
        cs: "Pin",
        width: int = 128,
        height: int = 128,
        buffer: "bytearray | None" = None,
    ) -> None:
        """buffer: height × (width / 8 + 2) + 2 bytes, given by a board that set them aside early,
        before imports have scattered the heap."""
        self.width = width
        self.height = height
        self._spi = spi
        self._cs = cs
        self._polarity = 0
        # One buffer in wire format, so that showing is one write without copies:
        # mode, then for every line: address, pixels, trailer; then one more trailer.
        self._stride = width // 8 + 2
        self._wire = buffer or bytearray(height * self._stride + 2)
        self._view = memoryview(self._wire)
        for line in range(1, height + 1):
            address = _REVERSED[line & 15] << 4 | _REVERSED[line >> 4]
            self._wire[(line - 1) * self._stride + 1] = address
        self._short = bytearray(2)
        self.fb = framebuf.FrameBuffer(
            self._view[2:], width, height, framebuf.MONO_HLSB, self._stride * 8
        )
        # The same memory, a byte a pixel: what is one colour is filled by the line, not by the bit.
        self._bytes = framebuf.FrameBuffer(self._view[2:], self._stride, height, framebuf.GS8)
        self.empty()

    def empty(self) -> None:
        """Nothing but paper in the image in memory; the glass keeps what it shows."""
        self._bytes.fill_rect(0, 0, self.width >> 3, self.height, 0xFF)

    def show(self, y0: int = 0, y1: "int | None" = None) -> None:
        """Send lines y0 to y1 - 1 to the glass; all of them unless told."""
        y1 = self.height if y1 is None else min(y1, self.height)
        y0 = max(y0, 0)
        if y0 >= y1:
            return
        # A line's trailer means nothing to the panel, so the one above y0 carries the mode byte.
        start = y0 * self._stride
        end = y1 * self._stride + 1
        self._wire[start] = _WRITE | self._polarity
        after = self._wire[end]
        self._wire[end] = 0
        self._send(self._view[start : end + 1])
        self._wire[end] = after
        self._wire[start] = 0

    def vcom(self, now: bool = True) -> None:
        """Invert the polarity of the common electrode; the image stays. Not now: with the next
        lines, which carry it for nothing."""
        self._polarity ^= _VCOM
        if now:
            self._command(0)

    def clear(self) -> None:
        """Blank the glass and the image in memory."""
        self.empty()
        self._command(_ALL_CLEAR)

    def off(self) -> None:
        """Leave nothing on the glass. It may then be without power, and without `vcom`."""
        self.clear()

    def _command(self, mode: int) -> None:
        self._short[0] = mode | self._polarity
        self._send(self._short)

    def _send(self, data: "bytearray | memoryview") -> None:
        # The 3 µs that the panel needs around chip select pass within any of these calls.
        self._cs(1)
        self._spi.write(data)
        self._cs(0)
