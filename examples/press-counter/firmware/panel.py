"""The memory LCD on SPI1, fed from PB5, chip select on PB6."""

import framebuf
from machine import SPI, Pin

_LINES = 128
_STRIDE = 18


def _reversed(value):
    result = 0
    for _ in range(8):
        result = result << 1 | value & 1
        value >>= 1
    return result


class Panel:
    def __init__(self):
        Pin("B5", Pin.OUT, value=1)
        self._select = Pin("B6", Pin.OUT, value=0)
        self._spi = SPI(1, baudrate=1000000)
        self._common = bytearray(2)
        self._wire = bytearray(_LINES * _STRIDE + 2)
        for line in range(_LINES):
            self._wire[line * _STRIDE + 1] = _reversed(line + 1)
        view = memoryview(self._wire)[2:]
        self.frame = framebuf.FrameBuffer(view, 128, _LINES, framebuf.MONO_HLSB, _STRIDE * 8)
        self.frame.fill(1)

    def show(self):
        self._wire[0] = 0x80
        self._send(self._wire)

    def keep(self):
        """Inverts the common electrode, which the panel wants once a second while it shows."""
        self._common[0] ^= 0x40
        self._send(self._common)

    def _send(self, data):
        self._select(1)
        self._spi.write(data)
        self._select(0)
