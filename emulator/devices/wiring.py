"""The board as the parts on it see it (`parts/part.py`), made of a card's chip and supply."""

from __future__ import annotations

import random
from collections.abc import Callable

from tallystick.common.errors import BadInputError
from tallystick.emulator.chip.mcu import Mcu
from tallystick.emulator.chip.wires import SpiPart
from tallystick.emulator.parts.part import BoardPart, I2cEnd
from tallystick.emulator.parts.supply import Supply
from tallystick.emulator.parts.uart import Uart


class Wiring:
    """Implements `Bench` for one part."""

    def __init__(self, mcu: Mcu, supply: Supply, part: BoardPart, rng: random.Random) -> None:
        self.clock = mcu.clock
        self.random = rng
        self.load = supply.load(load_of(part))
        self._mcu = mcu
        self._part = part
        self._free: dict[int, int] = {}  # id of a line → when the byte before has arrived

    def pin(self, name: str | int) -> int:
        """See `Bench`. Raises BadInputError."""
        board = self._mcu.board
        names = {**{v: k for k, v in board.chip.pins.names.items()}, **board.pin_names}
        number = name
        if isinstance(name, str):
            number = names.get(name, names.get(name.replace("GP", "GPIO", 1), name))
            if isinstance(number, str) and number.isdecimal():
                number = int(number)
        if isinstance(number, bool) or number not in board.chip.pins.names:
            raise BadInputError(
                f"{self._part.name}: {board.name} has no pin {name!r}.",
                kept="Nothing was started.",
                todo=f"It has {', '.join(list(names)[:6])}, …",
            )
        assert isinstance(number, int)
        return number

    def drive(self, pin: int, level: int | None) -> None:
        self._mcu.set_input(pin, level, self._part.name)

    def listen(self, pin: int, on_level: Callable[[int | None], None]) -> None:
        outputs, pins = self._mcu.pins.on_output, self._mcu.pins
        before = outputs.get(pin)

        def heard(level: int) -> None:
            if before is not None:
                before(level)
            on_level(level if pins.drives(pin) else None)

        outputs[pin] = heard

    def duty(self, pin: int) -> float | None:
        """See `Bench`: 0 to 1."""
        pulses = self._mcu.pwm.get(pin)
        return None if pulses is None else pulses[1] / 65_535

    def i2c(self, scl: int, sda: int, end: I2cEnd) -> None:
        self._mcu.wires.i2c.append(((scl, sda), end))

    def spi(
        self, sck: int, mosi: int, transfer: Callable[[bytes, int], bytes], miso: int | None = None
    ) -> None:
        self._mcu.wires.spi.append(SpiPart(sck, mosi, None, miso, transfer))

    def uart(self, tx: int, rx: int, on_send: Callable[[bytes], None]) -> Uart:
        line = self._mcu.wires.lines.setdefault((tx, rx), Uart())
        line.on_send = on_send
        return line

    def feed(self, line: Uart, data: bytes) -> None:
        """Not before those have arrived that were given before."""
        at = max(self.clock.now, self._free.get(id(line), 0))
        for value in data:
            at += round(line.byte_us()) or 87  # of 115,200 baud, while nobody has said
            byte = bytes([value])
            self.clock.at(at, lambda byte=byte: self._mcu.feed_uart(byte, line))  # type: ignore[misc]
        self._free[id(line)] = at

    def analog(self, pin: int, mv: Callable[[], int]) -> None:
        """See `Bench`. Raises BadInputError."""
        channel = self._mcu.board.chip.pins.channels.get(pin)
        if channel is None:
            raise BadInputError(
                f"{self._part.name}: the ADC of {self._mcu.board.name} has no channel on this pin.",
                kept="Nothing was started.",
                todo="The chip's data sheet lists its channels.",
            )
        self._mcu.analog[channel] = mv


def load_of(part: BoardPart) -> str:
    """What its current is called."""
    return f"part {part.name}"
