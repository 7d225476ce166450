"""What hangs on the chip's buses: parts, each on the pins that it is soldered to. A bus reaches a
part when firmware has put it on those pins, and has not taken them away since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tallystick.emulator.parts.uart import Uart


class I2cPart(Protocol):
    """A part on an I²C bus. One that can be read has `i2c_read` as well."""

    def i2c_write(self, address: int, data: bytes) -> bool:
        """True when it answers to this address, and took the bytes; none is a probe."""


class I2cReadable(I2cPart, Protocol):
    """One that can be read."""

    def i2c_read(self, address: int, count: int) -> bytes | None:
        """So many bytes, or None when it does not answer to this address."""


SpiWrite = Callable[[bytes, int], None]
SpiTransfer = Callable[[bytes, int], bytes]


@dataclass(frozen=True)
class SpiPart:
    """`write` is given bytes and the clock (Hz). transfer: of a part that drives `miso`, likewise,
    and answers with as many bytes."""

    sck: int
    mosi: int
    write: SpiWrite | None = None
    miso: int | None = None
    transfer: SpiTransfer | None = None


@dataclass
class Wires:
    """The parts by bus. `lines`: what is on the far end of a serial line, by its TX and RX."""

    i2c: list[tuple[tuple[int, int], I2cPart]] = field(default_factory=list)  # ((SCL, SDA), part)
    spi: list[SpiPart] = field(default_factory=list)
    lines: dict[tuple[int, int], Uart] = field(default_factory=dict)

    def on_i2c(self, pins: tuple[int, ...]) -> list[I2cPart]:
        return [part for where, part in self.i2c if where == pins[:2]]

    def on_spi(self, pins: tuple[int, ...]) -> list[SpiPart]:
        return [part for part in self.spi if (part.sck, part.mosi) == pins[:2]]
