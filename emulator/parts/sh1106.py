"""An SH1106 OLED controller on I²C (Sino Wealth data sheet, version 2.3, "Commands").

Beside an SSD1306: RAM of 132 columns, of which the glass of 128 shows those from 2 on; one way of
addressing, by pages; a converter of its own that is on unless it is turned off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tallystick.emulator.parts.ssd1306 import COLUMNS, Ssd1306

_RAM_COLUMNS = 132
_FIRST = 2  # column of the RAM that is the glass's leftmost
_ARGUMENTS = {0x81: 1, 0xA8: 1, 0xAD: 1, 0xD3: 1, 0xD5: 1, 0xD9: 1, 0xDA: 1, 0xDB: 1}
_AS_SSD1306 = (0x81, 0xA0, 0xA1, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xAE, 0xAF, 0xC0, 0xC8, 0xD3, 0xDA)
_NO_PICTURE = {0xD5, 0xD9, 0xDB, 0xE0, 0xE3, 0xEE}  # clock, pre-charge, VCOM, read-modify-write


@dataclass
class Sh1106(Ssd1306):
    """128 × 64 pixels at I²C address addr, mounted so that A1 and C8 make it upright."""

    chip: ClassVar[str] = "SH1106"
    arguments: ClassVar[dict[int, int]] = _ARGUMENTS

    def __post_init__(self) -> None:
        super().__post_init__()
        self._registers.pump = True

    def power(self, on: bool) -> None:
        changes = on != self._powered
        super().power(on)
        if changes:
            self._registers.pump = True

    def _data(self, values: bytes) -> None:
        """A column further each time, up to the last one; never into the next page."""
        r = self._registers
        for value in values:
            at = r.column - _FIRST
            if 0 <= at < COLUMNS:
                self._ram[r.page * COLUMNS + at] = value
            r.column = min(r.column + 1, _RAM_COLUMNS - 1)
        self._changed = True

    def _execute(self, command: int, arguments: list[int]) -> None:
        r = self._registers
        if command <= 0x0F:
            r.column = r.column & 0xF0 | command
        elif command <= 0x1F:
            r.column = (command & 0x0F) << 4 | r.column & 0x0F
        elif command == 0xAD and arguments[0] in (0x8A, 0x8B):
            r.pump = arguments[0] == 0x8B
        elif command in _AS_SSD1306 or 0x40 <= command <= 0x7F or 0xB0 <= command <= 0xB7:
            super()._execute(command, arguments)
        elif command not in _NO_PICTURE and not 0x30 <= command <= 0x33:
            self._error(" ".join(f"{value:02X}" for value in (command, *arguments)))
