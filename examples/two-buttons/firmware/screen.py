"""A display of 128 × 64 points with an SH1106, of which one number is shown."""

import framebuf

_START = b"\x00\xae\xa8\x3f\xd3\x00\x40\xa1\xc8\xda\x12\x81\x80\xa4\xa6\xad\x8b\xaf"
_LEFT = 2  # its RAM has 132 columns


class Screen:
    def __init__(self, bus, address=0x3C):
        self._bus = bus
        self._address = address
        self._page = bytearray(129)
        self._points = bytearray(1024)
        self._frame = framebuf.FrameBuffer(self._points, 128, 64, framebuf.MONO_VLSB)
        bus.writeto(address, _START)

    def number(self, value):
        self._frame.fill(0)
        text = str(value)
        self._frame.text(text, 64 - 4 * len(text), 28)
        for page in range(8):
            self._bus.writeto(self._address, bytes((0, 0xB0 | page, _LEFT, 0x10)))
            self._page[0] = 0x40
            self._page[1:] = self._points[128 * page : 128 * page + 128]
            self._bus.writeto(self._address, self._page)
