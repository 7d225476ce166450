"""What `machine` of the RP2 boards has of its own: pins by number, and its refusals."""

import machine

_PINS = 30
_ADC_FIRST = 26
_SIGNALS = {"I2C": ("SCL", "SDA"), "UART": ("TX", "RX"), "SPI": ("SCK", "MOSI", "MISO")}

# Set by boot.py from the chip's table of pins: for each of a bus's signals the pins that can be it,
# a bit each; and names of the board's own.
buses = {}
names = {}


def pin_number(name):
    if isinstance(name, str):
        if name in names:
            return names[name]
        digits = name[4:] if name[:4] == "GPIO" else name[2:] if name[:2] == "GP" else ""
        if not digits.isdigit() or int(digits) >= _PINS:
            raise ValueError('unknown named pin "%s"' % name)
        return int(digits)
    if not isinstance(name, int) or not 0 <= name < _PINS:
        raise ValueError("invalid pin")
    return name


def check_bus(kind, bus, pins):
    masks = buses.get(kind + str(bus)) if isinstance(bus, int) else None
    if masks is None:
        raise ValueError("%s(%s) doesn't exist" % (kind, bus))
    for pin, mask, name in zip(pins, masks, _SIGNALS[kind]):
        if pin is not None and not mask >> machine.pin_of(pin)._n & 1:
            raise ValueError("bad %s pin" % name)


def check_alt(pin, mode, alt):
    if mode == machine.Pin.ALT and not 1 <= alt <= 9:
        raise ValueError("invalid pin af: %d" % alt)


def adc_channel(channel):
    number = channel._n if isinstance(channel, machine.Pin) else channel
    if isinstance(number, str):
        number = pin_number(number)
    if isinstance(number, int) and (
        _ADC_FIRST <= number < _PINS or number <= 4 and channel is number
    ):
        return number
    raise ValueError("Pin doesn't have ADC capabilities")


def check_watchdog(ms):
    if not 0 <= ms <= 8388:
        raise ValueError("timeout exceeds 8388")


machine.Pin.board = machine._PinNames(lambda name: name in names or name[2:].isdigit())
machine.Pin.cpu = machine._PinNames(lambda name: name[4:].isdigit())
machine.Pin.IRQ_FALLING = 4
machine.Pin.IRQ_RISING = 8
machine.irq_of = lambda pin: pin
machine.closed_write = len
machine.edges = lambda trigger: trigger
machine.pin_number = pin_number
machine.check_bus = check_bus
machine.check_alt = check_alt
machine.adc_channel = adc_channel
machine.spi_clock = lambda hz: hz
machine.ADC.CORE_TEMP = 4
machine.pwm_slice = lambda pin: pin >> 1 & 7
machine.check_watchdog = check_watchdog
machine.first_weekday = 0
machine.UART.IRQ_RXIDLE = 64
machine.UART.IRQ_TXIDLE = 32
machine.UART.IRQ_BREAK = 512
machine.UART._triggers = 64 | 32 | 512
machine.UART._each = 0
machine.UART._idle = 64
