"""The chip's end of a serial line."""

from __future__ import annotations

from collections.abc import Callable

BITS_PER_BYTE = 10  # start, eight data, stop


class Uart:
    """Receive buffer of the driver and the way out. Baud rate 0 means not set up."""

    def __init__(self) -> None:
        self.baud = 0
        self.detuned = False  # the peripheral clock changed since the baud rate was set
        self.received = bytearray()
        self.room = 256  # bytes that the driver's receive buffer takes
        self.lost = 0  # bytes that came while the UART was off, asleep, or its buffer full
        self.heard = 0  # times that bytes came
        self.asked = 0  # firmware wants to hear: 1 of each byte, 2 when the line is idle after one
        self.number = 0  # of the UART that asked
        self.on_send: Callable[[bytes], None] | None = None

    def configure(self, baud: int, room: int = 256) -> None:
        self.baud = baud
        self.room = room
        self.detuned = False
        self.asked = 0
        self.received.clear()

    def ask(self, number: int, asked: int) -> None:
        """Firmware wants to hear of what arrives."""
        self.number, self.asked = number, asked

    def byte_us(self) -> float:
        """Time on the wire of one byte, µs."""
        return BITS_PER_BYTE * 1_000_000 / self.baud if self.baud else 0.0

    def feed(self, data: bytes, *, listening: bool) -> None:
        """Bytes arrive on the wire."""
        if not listening or not self.baud:
            self.lost += len(data)
            return
        if self.detuned:
            data = bytes(byte ^ 0xA5 for byte in data)
        self.heard += 1
        fits = data[: max(0, self.room - len(self.received))]
        self.lost += len(data) - len(fits)
        self.received += fits

    def send(self, data: bytes) -> None:
        if self.on_send and self.baud:
            self.on_send(bytes(b ^ 0xA5 for b in data) if self.detuned else data)
