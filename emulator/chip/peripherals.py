"""What firmware asks of the chip's peripherals: each request charges its time, reaches the part,
and is answered where an answer is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, cast

from tallystick.emulator.boards.board import Board
from tallystick.emulator.chip.pins import Pins
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.chip.wires import Wires
from tallystick.emulator.chips.chip import FlashController, Registers
from tallystick.emulator.clock import Clock
from tallystick.emulator.interpreter.link import Message, Op
from tallystick.emulator.parts.nor_flash import NorFlash
from tallystick.emulator.parts.uart import Uart
from tallystick.emulator.parts.usb import UsbDevice

_ADC_US = 20
_ADC_FULL_MV = 3300
_ADC_PIN = 26  # where channels are pins as well: that of channel 0
_KINDS = ("UART", "SPI", "I2C")
_SIGNALS = (2, 3, 2)  # pins of each
_NONE = 0xFF
_ABSENT = 0xFE  # the bus has no pin there
_FIRST_PROBED = 0x08


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
    analog: dict[int, Callable[[], int]]
    pins: Pins
    wires: Wires
    unwired: dict[int, Uart]
    pwm: dict[int, tuple[int, int]]

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
            Op.SPI_READ: self._spi_read,
            Op.I2C_WRITE: self._i2c_write,
            Op.I2C_READ: self._i2c_read,
            Op.BUS: self._bus,
            Op.PWM: self._pwm,
            Op.UART_ANY: self._uart_any,
            Op.UART_IRQ: self._uart_irq,
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
        channel = message.value
        if channel in mcu.on_adc:
            mcu.answer(mcu.registers.adc(mcu.on_adc[channel]()))
        elif channel in mcu.analog or channel - _ADC_PIN in mcu.analog:
            source = mcu.analog.get(channel) or mcu.analog[channel - _ADC_PIN]
            mcu.answer(max(0, min(65535, source() * 65535 // _ADC_FULL_MV)))
        else:
            mcu.answer(mcu.pins.noise())  # nothing is connected there

    # -- buses ---------------------------------------------------------------------------------

    def _spi_write(self, message: Message) -> None:
        mcu = self._mcu
        mcu.tell_bus("spi", message.data, 8_000_000 / max(1, message.value))
        parts = mcu.wires.on_spi(mcu.pins.has(f"SPI{message.arg}"))
        for part in parts:
            if part.write is not None:
                part.write(message.data, message.value)
            elif part.transfer is not None:
                part.transfer(message.data, message.value)
        if parts:
            mcu.check_voltage("display")

    def _spi_read(self, message: Message) -> None:
        """Both ways at once. Nobody on MISO: it floats."""
        mcu = self._mcu
        pins = mcu.pins.has(f"SPI{message.arg}")
        mcu.tell_bus("spi", message.data, 8_000_000 / max(1, message.value))
        read = bytes(mcu.pins.noise() & 0xFF for _ in message.data)
        for part in mcu.wires.on_spi(pins):
            if part.transfer is not None:
                answer = part.transfer(message.data, message.value)
                if len(pins) > 2 and part.miso == pins[2]:
                    read = answer
            elif part.write is not None:
                part.write(message.data, message.value)
        mcu.answer(0, read)

    def _i2c_write(self, message: Message) -> None:
        mcu = self._mcu
        khz = max(1, message.value & 0xFFFFFF)
        mcu.charge((len(message.data) + 1) * 9_000 // khz)
        mcu.tell_bus("i2c", message.data, 9_000 / khz)
        parts = mcu.wires.on_i2c(mcu.pins.has(f"I2C{message.arg}"))
        taken = sum(part.i2c_write(message.value >> 24, message.data) for part in parts)
        if not parts and not message.data and message.value >> 24 == _FIRST_PROBED:
            mcu.trace.add(mcu.clock.now, "i2c", "nothing on these pins")
        mcu.check_voltage("display")
        mcu.answer(int(taken > 0))

    def _i2c_read(self, message: Message) -> None:
        mcu = self._mcu
        khz = max(1, message.value & 0xFFFFFF)
        count = int.from_bytes(message.data, "little")
        mcu.charge((count + 1) * 9_000 // khz)
        address = message.value >> 24
        answers: list[bytes] = []
        names: list[str] = []
        for part in mcu.wires.on_i2c(mcu.pins.has(f"I2C{message.arg}")):
            read = getattr(part, "i2c_read", None)
            answer = read(address, count) if read is not None else None
            if answer is not None:
                answers.append(answer)
                names.append(type(part).__name__)
        if len(answers) > 1:
            mcu.pins.conflict = mcu.pins.conflict or (
                f"Two answer at I2C address {address:#04x}: {' and '.join(names)}."
            )
        data = answers[0].ljust(count, b"\xff")[:count] if answers else b"\xff" * count
        mcu.tell_bus("i2c", data, 9_000 / khz)
        mcu.check_voltage("display")
        mcu.answer(int(bool(answers)), data)

    def _bus(self, message: Message) -> None:
        """A bus is put on its pins: those that firmware names, or the board's, or the chip's."""
        mcu = self._mcu
        kind = message.arg >> 4
        name = f"{_KINDS[kind]}{message.arg & 15}"
        usual = mcu.board.default_pins.get(name) or mcu.board.chip.default_pins.get(name, ())
        before = mcu.pins.buses.get(name) or usual
        pins = tuple(
            before[n]
            if (pin := message.value >> 8 * n & 0xFF) == _NONE and n < len(before)
            else pin
            for n in range(_SIGNALS[kind])
        )
        pins = tuple(pin for pin in pins if pin not in (_NONE, _ABSENT))
        # A serial line idles high, SPI's clock low; I2C's wires are pulled up, and only ever
        # pulled down.
        driven = {pins[0]: 1} if kind == 0 else dict.fromkeys(pins[:2], 0) if kind == 1 else {}
        mcu.pins.give(pins, name, driven)

    def _pwm(self, message: Message) -> None:
        mcu = self._mcu
        pin, duty = message.arg, int.from_bytes(message.data, "little")
        if message.value:
            mcu.pwm[pin] = (message.value, duty)
        else:
            mcu.pwm.pop(pin, None)
        for probe in mcu.probes:
            probe.pwm(mcu.clock.now, pin, message.value, duty)

    # -- the serial line -----------------------------------------------------------------------

    def _uart_config(self, message: Message) -> None:
        self._line(message.arg).configure(message.value, int.from_bytes(message.data, "little"))

    def _line(self, bus: int) -> Uart:
        """What is on the pins of this UART."""
        mcu = self._mcu
        pins = mcu.pins.has(f"UART{bus}")
        for (tx, rx), line in mcu.wires.lines.items():
            if pins == (tx, rx):
                return line
        return mcu.unwired.setdefault(bus, Uart())

    def _uart_any(self, message: Message) -> None:
        self._mcu.answer(len(self._line(message.arg).received))

    def _uart_irq(self, message: Message) -> None:
        self._line(message.arg).ask(message.arg, message.value)

    def _uart_read(self, message: Message) -> None:
        received = self._line(message.arg).received
        data = bytes(received[: message.value])
        del received[: message.value]
        self._mcu.answer(len(data), data)

    def _uart_write(self, message: Message) -> None:
        mcu = self._mcu
        mcu.trace.add(mcu.clock.now, "uart", "send", f"{len(message.data)} bytes")
        for probe in mcu.probes:
            probe.serial(mcu.clock.now, message.data, to_card=False)
        line = self._line(message.arg)
        mcu.tell_bus("serial_from_card", message.data, line.byte_us())
        line.send(message.data)

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
        chip = cast(FlashController, self._mcu.registers)  # looking takes longer than programming
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
