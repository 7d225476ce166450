"""A Sharp memory LCD, seen from its three wires (LS013B7DH03 specification, timing charts).

Written from the panel's side: it takes bits as they arrive and knows nothing of any driver.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tallystick.emulator.seeing.frames import Frame

MAX_CLOCK_HZ = 1_100_000
VCOM_PERIOD_US = 1_000_000  # the polarity of the common electrode changes at least this often
VCOM_TOLERANCE_US = 50_000

_M0, _M1, _M2 = 0x80, 0x40, 0x20  # as the first byte reads, its first bit on top
_STATIC_UA = 4.0
_TRANSFER_UA = 756.0


class MemoryLcd:
    """Width × height pixels behind SCS (active high), SCLK and SI, with EXTMODE low.

    A transfer, all counts in bits: mode 3, dummy 5, then for every line address 8, pixels `width`,
    trailer 8; after the last one a further trailer of 8. Without M0: mode 3, dummy 13. The least
    significant bit of an address comes first; a pixel of 0 is dark.

    errors: what a real panel would have been fed wrongly, one sentence each.
    vcom_toggles: how often the polarity was inverted. frames: how often the image changed.
    clock_us: where given, the time between inversions while an image is up is checked as well.
    on_current: called with the supply current (µA) where that may have changed.
    """

    def __init__(
        self,
        width: int = 128,
        height: int = 128,
        clock_us: Callable[[], int] | None = None,
        on_current: Callable[[float], None] | None = None,
    ) -> None:
        self.width = width
        self.height = height
        self.errors: list[str] = []
        self.vcom_toggles = 0
        self.frames = 0
        self._clock_us = clock_us
        self._on_current = on_current
        self._powered = True
        self._selected = False
        self._received = bytearray()
        self._polarity = 0
        self._polarity_since_us = 0
        self._blank = b"\xff" * (width * height // 8)
        self._memory = self._blank  # as on the wire: a bit a pixel, 0 is dark
        self._pixels = _no_ink(width * height)
        self._unpacked = self._blank  # what `_pixels` was made of
        self._tell_current()

    @property
    def pixels(self) -> bytes:
        """What is seen: row by row, a byte a pixel, 1 is dark. Blank without power."""
        if self._unpacked is not self._memory:
            self._unpacked = self._memory
            if self._memory == self._blank:
                self._pixels = _no_ink(self.width * self.height)
            else:
                self._pixels = b"".join(map(_PIXELS.__getitem__, self._memory))
        return self._pixels

    def frame(self) -> Frame:
        """What is seen, as a picture."""
        return Frame(self.width, self.height, self.pixels)

    def power(self, on: bool) -> None:
        """Switch the supply. The image is lost with it; a panel that comes up is blank here, where
        a real one is undefined until it is cleared.
        """
        if on == self._powered:
            return
        if not on:
            self._check_vcom()
        self._powered = on
        self._selected = False
        self._received.clear()
        self._polarity = 0
        self._polarity_since_us = self._now_us()
        self._show(self._blank)
        self._tell_current()

    def _tell_current(self) -> None:
        if self._on_current is not None:
            self._on_current(self.current_ua())

    def current_ua(self) -> float:
        """Supply current at 3 V, µA. Typical figures of the specification: 12 µW with an image up,
        50 µW when a full image is sent every second. The difference, 38 µJ an image, is spent in
        the 16.8 ms that its 18,448 bits take at 1.1 MHz.
        """
        if not self._powered:
            return 0.0
        return _STATIC_UA + (_TRANSFER_UA if self._selected else 0.0)

    def spi_select(self, level: int) -> None:
        """SCS changes to level."""
        if not self._powered or bool(level) == self._selected:
            return
        self._selected = bool(level)
        self._tell_current()
        if self._selected:
            self._received.clear()
        else:
            self._transfer(bytes(self._received))

    def spi_write(self, data: bytes, clock_hz: int = MAX_CLOCK_HZ) -> None:
        """Bytes are clocked in, most significant bit first. A clock that is too fast is an error,
        and what it carries is not taken."""
        if clock_hz > MAX_CLOCK_HZ:
            self._error(f"a clock of {clock_hz / 1e6:.1f} MHz, of at most {MAX_CLOCK_HZ / 1e6:.1f}")
        elif self._powered and self._selected:
            self._received += data

    def _transfer(self, data: bytes) -> None:
        if not data:
            return self._error("selected and released without a mode bit")
        mode = data[0]
        self._set_polarity(mode & _M1)
        if mode & _M0 and mode & _M2:
            return self._error("write and all clear asked for at once")
        if mode & _M0:
            return self._write_lines(data[1:])
        if len(data) != 2:
            self._error(f"{len(data) * 8} clocks in a command of 16")
        if mode & _M2:
            self._show(self._blank)
        return None

    def _write_lines(self, data: bytes) -> None:
        size = self.width // 8
        memory = bytearray(self._memory)
        lines, rest = divmod(len(data) - 1, size + 2)
        if lines < 1 or rest:
            self._error(f"{len(data) * 8} clocks are not whole lines and a trailer")
        # As in the panel, a line is taken over by the clocks that follow it, so a line without its
        # trailer is lost.
        for at in range(0, len(data) - size - 1, size + 2):
            line = _REVERSED[data[at]]
            if 1 <= line <= self.height:
                memory[(line - 1) * size : line * size] = data[at + 1 : at + 1 + size]
            else:
                self._error(f"line {line} of {self.height}")
        self._show(bytes(memory))

    def _show(self, memory: bytes) -> None:
        if memory != self._memory:
            self._memory = memory
            self.frames += 1

    def _set_polarity(self, polarity: int) -> None:
        self._check_vcom()
        if polarity != self._polarity:
            self._polarity = polarity
            self._polarity_since_us = self._now_us()
            self.vcom_toggles += 1

    def _check_vcom(self) -> None:
        now = self._now_us()
        elapsed = now - self._polarity_since_us
        if self._memory == self._blank:
            self._polarity_since_us = now
        elif elapsed > VCOM_PERIOD_US + VCOM_TOLERANCE_US:
            self._error(f"VCOM not inverted for {elapsed // 1000} ms with an image up")
            self._polarity_since_us = now

    def _now_us(self) -> int:
        return self._clock_us() if self._clock_us else 0

    def _error(self, sentence: str) -> None:
        self.errors.append(f"memory LCD: {sentence}")


@cache
def _no_ink(count: int) -> bytes:
    return bytes(count)


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_PIXELS = [bytes(byte >> bit & 1 ^ 1 for bit in range(7, -1, -1)) for byte in range(256)]
