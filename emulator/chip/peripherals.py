"""What firmware asks of the chip's peripherals: each request charges its time, reaches the part,
and is answered where an answer is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tallystick.emulator.boards.board import Board
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.chips.chip import FlashController, Registers
from tallystick.emulator.clock import Clock
from tallystick.emulator.interpreter.link import Message, Op
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.emulator.parts.uart import Uart
from tallystick.emulator.parts.usb import UsbDevice

_ADC_US = 20


class RunningChip(Protocol):
    """What peripherals need of the chip that they are in: the parts, and its time and power."""

    board: Board
    flash: NorFlash
    clock: Clock
    trace: Trace
    uart: Uart
    usb: UsbDevice
    registers: Registers
    probes: list[Probe]
    on_adc: dict[int, Callable[[], int]]
    on_spi: dict[int, Callable[[bytes, int], None]]
    on_i2c: dict[int, Callable[[int, bytes], bool]]

    def answer(self, value: int = 0, data: bytes = b"") -> None: ...

    def charge(self, cpu_us: int) -> None: ...

    def check_voltage(self, load: str) -> None: ...

    def tell_bus(self, name: str, data: bytes, byte_us: float) -> None: ...

    def program(self, address: int, data: bytes) -> bool: ...

    def erase(self, address: int) -> bool: ...


class Peripherals:
    """`handlers` has a method for every operation that is not the chip's own business (waits,
    power, the end of the firmware)."""

    def __init__(self, mcu: RunningChip) -> None:
        self._mcu = mcu
        self.handlers: dict[int, Callable[[Message], None]] = {
            Op.ADC: self._adc,
            Op.SPI_WRITE: self._spi_write,
            Op.I2C_WRITE: self._i2c_write,
            Op.UART_CONFIG: self._uart_config,
            Op.UART_READ: self._uart_read,
            Op.UART_WRITE: self._uart_write,
            Op.FLASH_ERASE: self._flash_erase,
            Op.FLASH_PROGRAM: self._flash_program,
            Op.FLASH_READ: self._flash_read,
            Op.REG_GET: self._reg_get,
            Op.REG_SET: self._reg_set,
            Op.FLASH_WORDS: self._flash_words,
            Op.FREQ: self._freq,
            Op.USB_ACTIVE: self._usb_active,
            Op.USB_SUBMIT: self._usb_submit,
            Op.USB_EVENT: self._usb_event,
        }

    def _adc(self, message: Message) -> None:
        mcu = self._mcu
        mcu.charge(_ADC_US)
        cell_mv = mcu.on_adc.get(message.value)  # None: nothing is connected there
        mcu.answer(0 if cell_mv is None else mcu.registers.adc(cell_mv()))

    # -- buses ---------------------------------------------------------------------------------

    def _spi_write(self, message: Message) -> None:
        mcu = self._mcu
        mcu.tell_bus("spi", message.data, 8_000_000 / max(1, message.value))
        if message.arg in mcu.on_spi:
            mcu.on_spi[message.arg](message.data, message.value)
            mcu.check_voltage("display")

    def _i2c_write(self, message: Message) -> None:
        mcu = self._mcu
        khz = max(1, message.value & 0xFFFFFF)
        mcu.charge((len(message.data) + 1) * 9_000 // khz)
        mcu.tell_bus("i2c", message.data, 9_000 / khz)
        part = mcu.on_i2c.get(message.arg)
        taken = part is not None and part(message.value >> 24, message.data)
        mcu.check_voltage("display")
        mcu.answer(int(taken))

    # -- the serial line -----------------------------------------------------------------------

    def _uart_config(self, message: Message) -> None:
        self._mcu.uart.configure(message.value, int.from_bytes(message.data, "little"))

    def _uart_read(self, message: Message) -> None:
        received = self._mcu.uart.received
        data = bytes(received[: message.value])
        del received[: message.value]
        self._mcu.answer(len(data), data)

    def _uart_write(self, message: Message) -> None:
        mcu = self._mcu
        mcu.trace.add(mcu.clock.now, "uart", "send", f"{len(message.data)} bytes")
        for probe in mcu.probes:
            probe.serial(mcu.clock.now, message.data, to_card=False)
        mcu.tell_bus("serial_from_card", message.data, mcu.uart.byte_us())
        mcu.uart.send(message.data)

    # -- flash and registers -------------------------------------------------------------------

    def _flash_program(self, message: Message) -> None:
        self._mcu.answer(0 if self._mcu.program(message.value, message.data) else -5)

    def _flash_erase(self, message: Message) -> None:
        self._mcu.answer(0 if self._mcu.erase(message.value) else -5)

    def _flash_read(self, message: Message) -> None:
        length = int.from_bytes(message.data, "little")
        self._mcu.answer(0, self._mcu.flash.memory[message.value : message.value + length])

    def _reg_get(self, message: Message) -> None:
        value = self._mcu.registers.read(message.value)
        self._mcu.answer(value - (1 << 32) if value >= 1 << 31 else value)

    def _reg_set(self, message: Message) -> None:
        self._mcu.registers.write(message.value, int.from_bytes(message.data, "little"))

    def _flash_words(self, message: Message) -> None:
        """Units of two words, `arg` µs between one and the next."""
        chip = self._mcu.registers
        assert isinstance(chip, FlashController)
        for at in range(0, len(message.data), 8):
            if at:
                self._mcu.charge(message.arg)
            chip.double_word(message.value + at, message.data[at : at + 8])

    def _freq(self, message: Message) -> None:
        if not message.value:
            self._mcu.answer(self._mcu.board.chip.clock_hz)

    # -- USB -----------------------------------------------------------------------------------

    def _usb_active(self, message: Message) -> None:
        self._mcu.usb.activate(bool(message.arg), message.data)

    def _usb_submit(self, message: Message) -> None:
        self._mcu.usb.submit(message.arg, message.data)

    def _usb_event(self, message: Message) -> None:
        self._mcu.answer(*self._mcu.usb.event())
