"""A Pico 2 with a card's parts: button, display, dock, cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tallystick.emulator.boards.board import Board
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame
from tallystick.tools.second_opinion.rp2350.board import MS, ChipBoard

_BAUD = 115_200
_ADC_CHANNEL, _ADC_MAX, _ADC_MV = 3, 4095, 3300
_DIVIDER = 3  # between the cell and its ADC channel, on the board


class _Bus:
    """The display on its I2C bus; `transfers` are whole ones."""

    def __init__(self, display: Ssd1306, on_transfer: Callable[[bytes], None]) -> None:
        self._display = display
        self._on_transfer = on_transfer

    def answers(self, address: int) -> bool:
        return address == self._display.addr

    def write(self, address: int, data: bytes) -> None:
        self._display.i2c_write(address, data)
        self._on_transfer(data)

    def read(self, _address: int) -> int:
        return 0xFF


class ChipCard(ChipBoard):
    """on_display: a transfer to the display is over. on_flash: (kind, address) of an operation that
    begins."""

    def __init__(
        self, board: Board, flash: Iterable[tuple[int, bytes]], cell_mv: int = 3000, *, seed: int = 1
    ) -> None:
        super().__init__(board, flash, seed=seed)
        self.display = Ssd1306()
        self.on_display: Callable[[bytes], None] = lambda _data: None
        self.chip.i2cs[board.display_bus].slave = _Bus(self.display, self._shown)
        self.cell_mv = cell_mv
        self.chip.adc_reading = self._read_cell
        self.set_button(False)
        self.chip.pins.drive(board.dock_pin, 1 ^ board.dock_active)

    def _read_cell(self, channel: int) -> int:
        return self.cell_mv * _ADC_MAX // (_ADC_MV * _DIVIDER) if channel == _ADC_CHANNEL else 0

    def _shown(self, data: bytes) -> None:
        self.on_display(data)
        self.heard()

    def frame(self) -> Frame:
        """What is on the glass."""
        return self.display.frame()

    def set_button(self, down: bool) -> None:
        active = self.board.button_active
        self.chip.pins.drive(self.board.button_pin, active if down else 1 ^ active)

    def press(self, ms: int = 120) -> None:
        """Presses the button, which is let go after `ms`."""
        self.set_button(True)
        self.core.after(ms * MS, lambda: self.set_button(False))

    def dock(self, on_send: Callable[[bytes], None] | None = None) -> None:
        self.on_send = on_send
        self.chip.pins.drive(self.board.dock_pin, self.board.dock_active)

    def undock(self) -> None:
        self.on_send = None
        self.chip.pins.drive(self.board.dock_pin, 1 ^ self.board.dock_active)

    def feed(self, data: bytes) -> None:
        """Bytes to the card, taking the time of the wire."""
        self.send(data, _BAUD)
