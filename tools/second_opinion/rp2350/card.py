"""A Pico 2 with a card's parts: button, display, dock, cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame
from tallystick.tools.second_opinion.rp2350.board import MS, ChipBoard

_BAUD = 115_200
_ADC_CHANNEL, _ADC_STEPS, _ADC_MV = 3, 4096, 3300
_DIVIDER = 3  # between the cell and its ADC channel, on the board


class _DisplayBus:
    """The display on its I2C bus; `transfers` are whole ones."""

    def __init__(self, display: Ssd1306, on_transfer: Callable[[bytes, float], None]) -> None:
        self._display = display
        self._on_transfer = on_transfer

    def answers(self, address: int) -> bool:
        return address == self._display.addr

    def write(self, address: int, data: bytes, byte_us: float) -> None:
        self._display.i2c_write(address, data)
        self._on_transfer(data, byte_us)

    def read(self, _address: int) -> int:
        return 0xFF


class ChipCard(ChipBoard):
    """`Chip` for `pico2_card`. `entropy` are its random bytes, where `random_at` is the address of
    MicroPython's `mp_hal_get_random`."""

    board: CardBoard

    def __init__(
        self,
        board: CardBoard,
        flash: Iterable[tuple[int, bytes]],
        *,
        cell_mv: int = 3000,
        entropy: Iterator[int] | None = None,
        random_at: int | None = None,
    ) -> None:
        super().__init__(board, flash)
        self.rolls_its_own = entropy is None or random_at is None
        if entropy is not None and random_at is not None:
            self.give_random(random_at, lambda size: bytes(islice(entropy, size)))
        self.display = Ssd1306()
        self.chip.i2cs[board.display_bus].slave = _DisplayBus(self.display, self._shown)
        self.cell_mv = cell_mv
        self.chip.adc.sample = self._read_cell
        self.set_button(False)
        self.set_dock(False)

    def power_on(self) -> None:
        self.display.power(True)
        super().power_on()

    def power_off(self) -> None:
        super().power_off()
        self.display.power(False)

    def _read_cell(self, channel: int) -> int:
        return self.cell_mv * _ADC_STEPS // (_ADC_MV * _DIVIDER) if channel == _ADC_CHANNEL else 0

    def _shown(self, data: bytes, byte_us: float) -> None:
        for probe in self._probes:
            probe.bus(round(self.now_us), "i2c", data, byte_us)
        self.heard()

    def frame(self) -> Frame:
        """What is on the glass."""
        return self.display.frame()

    def set_button(self, down: bool) -> None:
        active = self.board.button_active
        self.chip.pins.drive(self.board.button_pin, active if down else 1 ^ active)

    def press(self, ms: float = 120) -> None:
        """Presses the button, which is let go after `ms`. Takes no time itself."""
        self.set_button(True)
        self.core.after(ms * MS, lambda: self.set_button(False))

    def set_dock(self, docked: bool) -> None:
        active = self.board.dock_active
        self.chip.pins.drive(self.board.dock_pin, active if docked else 1 ^ active)

    def send(self, data: bytes) -> None:
        """Bytes to the card, one after the other from now on. Takes no time itself."""
        self.put_on_line(data, _BAUD)
