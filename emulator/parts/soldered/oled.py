"""Small OLED displays on I²C, as they are sold: a glass of 128 × 64 with an SSD1306 or SH1106."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tallystick.emulator.parts.part import Bench, BoardPart
from tallystick.emulator.parts.sh1106 import Sh1106
from tallystick.emulator.parts.ssd1306 import Ssd1306


class Oled(BoardPart):
    """bus: the pins of SCL and SDA."""

    controller: type[Ssd1306] = Ssd1306
    glass: Ssd1306

    def __init__(self, bus: Sequence[str | int], address: int = 0x3C) -> None:
        self._bus, self._address = bus, address

    def wire(self, bench: Bench) -> None:
        scl, sda = (bench.pin(pin) for pin in self._bus)
        self.glass = self.controller(addr=self._address, on_current=bench.load)
        bench.i2c(scl, sda, self.glass)
        self.glass.power(False)

    def power(self, on: bool) -> None:
        self.glass.power(on)

    def state(self) -> Mapping[str, Any]:
        frame = self.glass.frame()
        return {"frame": self.glass.frames, "blank": frame.blank, "sha256": frame.sha256()}


class OledSsd1306(Oled):
    """With an SSD1306."""

    kind = "ssd1306"


class OledSh1106(Oled):
    """With an SH1106: the same glass, other commands, two columns further to the right."""

    kind = "sh1106"

    controller = Sh1106
