"""An SSD1306 OLED controller on I²C (Solomon Systech data sheet rev. 1.5, sections 8 to 10).

Written from the controller's side: it knows the command table, and nothing of any driver. What it
does not model (scrolling, fading, the clock) is acknowledged and has no effect on the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from tallystick.emulator.seeing.frames import Frame

PAGES = 8
ROWS = 64
COLUMNS = 128

# Arguments that follow a command; the others have none (data sheet, section 9).
_ARGUMENTS = {
    0x20: 1,
    0x21: 2,
    0x22: 2,
    0x26: 6,
    0x27: 6,
    0x29: 5,
    0x2A: 5,
    0x81: 1,
    0x8D: 1,
    0xA3: 2,
    0xA8: 1,
    0xD3: 1,
    0xD5: 1,
    0xD9: 1,
    0xDA: 1,
    0xDB: 1,
}
_HORIZONTAL, _VERTICAL, _PAGE = 0, 1, 2


@dataclass
class _DisplayRegisters:
    """Values after reset (data sheet, sections 8.5 and 9)."""

    on: bool = False
    contrast: int = 0x7F
    all_on: bool = False
    inverse: bool = False
    mode: int = _PAGE
    column: int = 0
    page: int = 0
    columns: tuple[int, int] = (0, COLUMNS - 1)
    pages: tuple[int, int] = (0, PAGES - 1)
    start_line: int = 0
    remapped: bool = False
    scan_down: bool = False
    rows: int = ROWS
    offset: int = 0
    pump: bool = False


@dataclass
class Ssd1306:
    """128 × 64 pixels at I²C address addr, mounted so that A1 and C8 make it upright.

    errors: what the data sheet does not allow, one sentence each. frames: how often the picture
    changed. on_current: called with the supply current (µA) where that may have changed.
    """

    addr: int = 0x3C
    errors: list[str] = field(default_factory=list)
    frames: int = 0
    on_current: Callable[[float], None] | None = None

    width = COLUMNS
    height = ROWS
    chip: ClassVar[str] = "SSD1306"
    arguments: ClassVar[dict[int, int]] = _ARGUMENTS

    def __post_init__(self) -> None:
        self._registers = _DisplayRegisters()
        self._ram = bytearray(COLUMNS * PAGES)
        self._powered = True
        self._pending: list[int] = []
        self._seen = bytes(COLUMNS * ROWS)
        self._lit = 0  # pixels
        self._changed = False  # since the picture was worked out
        self._tell_current()

    def _tell_current(self) -> None:
        if self.on_current is not None:
            self.on_current(self.current_ua())

    @property
    def contrast(self) -> int:
        """Contrast register, 0 to 255."""
        return self._registers.contrast

    @property
    def on(self) -> bool:
        """True while the panel is driven."""
        return self._powered and self._registers.on

    @property
    def ram(self) -> bytes:
        """The display RAM, page by page, whether it is shown or not."""
        return bytes(self._ram)

    @property
    def pixels(self) -> bytes:
        """What is seen: row by row, a byte a pixel, 1 is lit. Dark without power or when off."""
        return self._seen

    def frame(self) -> Frame:
        """What is seen, as a picture."""
        return Frame(self.width, self.height, self.pixels)

    def power(self, on: bool) -> None:
        """Switch the supply: registers and RAM are lost with it."""
        if on != self._powered:
            self._powered = on
            self._registers = _DisplayRegisters()
            self._ram = bytearray(COLUMNS * PAGES)
            self._pending.clear()
            self._changed = True
            self._look()

    def current_ua(self) -> float:
        """Supply current, µA, with the charge pump fed from the same 3.3 V.

        Asleep 10 µA (IDD,SLEEP, maximum). Running: logic 50 µA (IDD, typical) and, from the pump's
        7.5 V, 430 µA (ICC, typical) plus the lit segments, each contrast / 256 · 100 µA (ISEG,
        section 8.8), one of 64 rows at a time. A doubling pump takes twice that at its input.
        """
        if not self._powered:
            return 0.0
        if not self._registers.on:
            return 10.0
        segment_ua = self._registers.contrast / 256 * 100
        return 50 + 2 * (430 + segment_ua * self._lit / self._registers.rows)

    def i2c_write(self, addr: int, data: bytes) -> bool:
        """One write transfer from start to stop. Returns whether it was acknowledged."""
        if not self._powered or addr != self.addr:
            return False
        index = 0
        while index < len(data):
            control = data[index]
            index += 1
            if control & 0x3F:
                self._error(f"control byte {control:02X}")
            single = control & 0x80  # Co: one byte follows, then another control byte
            stop = min(index + 1, len(data)) if single else len(data)
            if single and index == len(data):
                self._error("control byte at the end")
            if control & 0x40:
                self._data(data[index:stop])
            else:
                for value in data[index:stop]:
                    self._command(value)
            index = stop
        self._look()
        return True

    def _data(self, values: bytes) -> None:
        r = self._registers
        if self._pending and values:
            self._error(f"command {self._pending[0]:02X} without its arguments")
            self._pending.clear()
        at = 0
        while at < len(values):
            # As many as go into a page side by side.
            last = r.columns[1] if r.mode == _HORIZONTAL else COLUMNS - 1
            run = 1 if r.mode == _VERTICAL or r.column > last else last - r.column + 1
            piece = values[at : at + run]
            start = r.page * COLUMNS + r.column
            self._ram[start : start + len(piece)] = piece
            at += len(piece)
            r.column += len(piece) - 1
            self._next_place(r)
        self._changed = True

    def _next_place(self, r: _DisplayRegisters) -> None:
        if r.mode == _PAGE:
            r.column = (r.column + 1) % COLUMNS
            return
        column_done = r.column == r.columns[1]
        page_done = r.page == r.pages[1]
        if r.mode == _HORIZONTAL or page_done:
            r.column = r.columns[0] if column_done else (r.column + 1) % COLUMNS
        if r.mode == _VERTICAL or column_done:
            r.page = r.pages[0] if page_done else (r.page + 1) % PAGES

    def _command(self, value: int) -> None:
        self._pending.append(value)
        self._changed = True
        command, *arguments = self._pending
        if len(arguments) == self.arguments.get(command, 0):
            self._pending.clear()
            self._execute(command, arguments)

    def _execute(self, command: int, arguments: list[int]) -> None:  # noqa: PLR0912 (a command table)
        r = self._registers
        match command:
            case _ if command <= 0x0F:
                r.column = r.column & 0x70 | command
            case _ if command <= 0x1F:
                r.column = (command & 0x07) << 4 | r.column & 0x0F
            case 0x20 if arguments[0] & 3 != 3:
                r.mode = arguments[0] & 3
            case 0x21 if arguments[0] <= arguments[1] < COLUMNS:
                r.columns = (arguments[0], arguments[1])
                r.column = arguments[0]
            case 0x22 if arguments[0] <= arguments[1] < PAGES:
                r.pages = (arguments[0], arguments[1])
                r.page = arguments[0]
            case _ if 0x40 <= command <= 0x7F:
                r.start_line = command & 0x3F
            case 0x81:
                r.contrast = arguments[0]
            case 0x8D:
                r.pump = arguments[0] == 0x14
            case 0xA0 | 0xA1:
                r.remapped = command == 0xA1
            case 0xA4 | 0xA5:
                r.all_on = command == 0xA5
            case 0xA6 | 0xA7:
                r.inverse = command == 0xA7
            case 0xA8 if arguments[0] & 0x3F >= 15:
                r.rows = (arguments[0] & 0x3F) + 1
            case 0xAE | 0xAF:
                r.on = command == 0xAF
            case _ if 0xB0 <= command <= 0xB7:
                r.page = command & 7
            case 0xC0 | 0xC8:
                r.scan_down = command == 0xC8
            case 0xD3:
                r.offset = arguments[0] & 0x3F
            case 0xDA if arguments[0] != 0x12:
                self._error(f"COM pins {arguments[0]:02X}: this panel is wired for 12")
            case _ if command in _NO_PICTURE:
                pass
            case _:
                self._error(" ".join(f"{value:02X}" for value in (command, *arguments)))

    def _look(self) -> None:
        self._tell_current()
        if not self._changed:
            return
        self._changed = False
        seen = self._picture()
        if seen != self._seen:
            self._seen = seen
            self._lit = seen.count(1)
            self.frames += 1
            self._tell_current()

    def _picture(self) -> bytes:
        r = self._registers
        if not (self._powered and r.on and r.pump):
            return bytes(COLUMNS * ROWS)
        if r.all_on:
            return b"\1" * (COLUMNS * ROWS)
        rows: list[bytes | bytearray] = []
        for y in range(ROWS):
            # The glass is mounted upside down: C8 scans its top row first, A1 its left column.
            com = y if r.scan_down else ROWS - 1 - y
            row = (com + r.offset) % ROWS
            if row >= r.rows:
                rows.append(bytes(COLUMNS))
                continue
            line = (row + r.start_line) % ROWS
            page = self._ram[line // 8 * COLUMNS : (line // 8 + 1) * COLUMNS]
            bits = page.translate(_BIT[line % 8 | (8 if r.inverse else 0)])
            rows.append(bits if r.remapped else bits[::-1])
        return b"".join(rows)

    def _error(self, sentence: str) -> None:
        self.errors.append(f"{self.chip}: not in the data sheet: {sentence}")


# Accepted, without effect on the picture: scrolling, clock, pre-charge, VCOMH, NOP.
_NO_PICTURE = {0x26, 0x27, 0x29, 0x2A, 0x2E, 0x2F, 0xA3, 0xD5, 0xD9, 0xDA, 0xDB, 0xE3}
# Tables from a byte of RAM to one of its bits; from 8 on inverted.
_BIT = [
    bytes((value >> bit & 1) ^ inverse for value in range(256))
    for inverse in (0, 1)
    for bit in range(8)
]
