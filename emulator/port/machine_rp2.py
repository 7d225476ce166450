"""What `machine` of the RP2 boards has of its own: pins by number, and its refusals."""

import machine

_PINS = 30
_ADC_FIRST = 26
_SIO = 5
_NO_FUNCTION = 31
_KINDS = ("UART", "SPI", "I2C")
_FUNCTIONS = (2, 1, 3)
_SIGNALS = {"I2C": ("SCL", "SDA"), "UART": ("TX", "RX"), "SPI": ("SCK", "MOSI", "MISO")}

# Set by boot.py from the chip's table of pins: for each of a bus's signals the pins that can be it,
# a bit each; and names of the board's own.
buses = {}
names = {}
clock_hz = 125000000
functions = ()  # of a pin, by number: "" where there is none
of_some = ()  # (number of a function that not all pins have, those that have it: a bit each)
# What buses are on that are given no pins, as MicroPython defines it for Pico and Pico 2.
own_pins = {
    "UART0": (0, 1),
    "UART1": (4, 5),
    "I2C0": (5, 4),
    "I2C1": (7, 6),
    "SPI0": (18, 19, 16),
    "SPI1": (10, 11, 8),
}


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
    if not isinstance(bus, int):
        raise TypeError("can't convert %s to int" % type(bus).__name__)
    masks = buses.get(kind + str(bus))
    if masks is None:
        raise ValueError("%s(%s) doesn't exist" % (kind, bus))
    for pin, mask, name in zip(pins, masks, _SIGNALS[kind]):
        if pin is not None and not mask >> machine.pin_of(pin)._n & 1:
            raise ValueError("bad %s pin" % name)


def _fits(n, alt):
    for number, pins in of_some:
        if number == alt:
            return pins >> n & 1
    return 1


def check_mode(pin, mode, pull, alt):
    if mode is None:
        mode = -1
    elif mode > 2 and alt in (-1, _SIO):
        mode = 1 if machine.setting(pin._n, 0) == 1 else machine.Pin.IN  # as it was
    elif mode > 2:
        mode = machine.Pin.ALT
        if not 0 <= alt < len(functions) or not functions[alt] or not _fits(pin._n, alt):
            raise ValueError("invalid pin af: %d" % alt)
    return mode, 0 if pull is None or pull < 0 else pull & 3, alt


def fourth_of_pin(*_):
    raise TypeError("extra positional arguments given")


def alt_name(number):
    """What an alternate function is called, or its number."""
    return functions[number] if number < len(functions) else number


class _PinIrq:
    def __init__(self, pin):
        self._pin = pin

    def __repr__(self):
        return "<irq>"

    def __call__(self):
        self.call()

    def __getattr__(self, name):
        return machine.late.more(self, "pin_irq", name)


def name_functions():
    for number, name in enumerate(functions):
        if name:
            setattr(machine.Pin, "ALT_" + name, number)


def take_pins(kind, number, pins, idle):
    """The pins of a bus: those that it was given, or the board's own."""
    bits = machine.Pin
    name = _KINDS[kind] + str(number)
    own = list(own_pins.get(name, pins))
    for at, pin in enumerate(pins):
        n = own[at] if pin is None else machine.pin_of(pin)._n if pin != machine.ABSENT else None
        own[at] = n
        if n is None:
            continue
        pull = machine.setting(n, 1)
        if number < 8:
            machine.set_to(n, bits.ALT, 1 if kind == 2 else pull, _FUNCTIONS[kind])
        elif kind == 2:
            machine.set_to(n, bits.OPEN_DRAIN, pull, _SIO)
        else:
            machine.set_to(n, bits.OUT if at < 2 else bits.IN, pull, _SIO)
    if number < 8:
        own_pins[name] = own  # the next that is given none has these


def analog_pin(channel, number):
    if number >= _ADC_FIRST:
        machine.set_to(number, machine.Pin.ALT, 0, _NO_FUNCTION)


def spi_clock(hz):
    """Of the divisors (RP2040 data sheet, 4.4.3.4) those that the SDK takes. The clock is the
    48 MHz of USB; a light sleep leaves the system's there.
    """
    clock = clock_hz if machine.slept else 48000000
    prescale = 2
    while prescale < 254 and clock >= prescale * 256 * hz:
        prescale += 2
    divisor = 256
    while divisor > 1 and clock // (prescale * (divisor - 1)) <= hz:
        divisor -= 1
    return clock // (prescale * divisor)


def adc_channel(channel):
    number = channel._n if isinstance(channel, machine.Pin) else channel
    if isinstance(number, str):
        number = pin_number(number)
    if isinstance(number, int) and (
        _ADC_FIRST <= number < _PINS or 0 <= number <= 4 and channel is number
    ):
        return number
    pin_number(number)
    raise ValueError("Pin doesn't have ADC capabilities")


def check_watchdog(ms):
    if not 0 <= ms <= 8388:
        raise ValueError("timeout exceeds 8388")


machine.Pin.board = machine._PinNames(lambda name: name in names or name[2:].isdigit())
machine.Pin.cpu = machine._PinNames(lambda name: name[4:].isdigit())
machine.Pin.IRQ_FALLING = 4
machine.Pin.IRQ_RISING = 8
machine.irq_of = _PinIrq
machine.closed_write = len
machine.SPI.MSB, machine.SPI.LSB = 1, 0
machine.edges = lambda trigger: trigger
machine.pin_number = pin_number
# There is one object for each UART, and it keeps how it was set up last.
_uarts = {}
_uart_init = machine.UART.__init__
_IN_ORDER = ("baudrate", "bits", "parity", "stop")


def _asked(args, kw):
    """What a UART is set up with, by name; without what stands for "as it is"."""
    if len(args) > len(_IN_ORDER):
        raise TypeError("extra positional arguments given")
    for name, value in zip(_IN_ORDER, args):
        kw[name] = value
    for name in ("baudrate", "bits", "stop"):
        if kw.get(name, 1) <= 0:
            del kw[name]
    for name in ("timeout", "timeout_char"):
        if kw.get(name, 0) < 0:
            del kw[name]
    if kw.get("parity") == -1:
        del kw["parity"]
    return kw


def _as_it_was(uart, kw):
    _, _, _, _, _, room, timeout, between = uart._set
    if uart._baud:
        kw.setdefault("baudrate", uart._baud)
        kw.setdefault("timeout_char", max(between, 13000 // uart._baud + 1))
    if kw.setdefault("timeout", timeout) != timeout and not kw["timeout"]:
        uart._timeouts = (0, between)
    return room


def _uart_new(cls, bus, *_, **__):
    return cls is machine.UART and _uarts.get(bus) or object.__new__(cls)


def _uart_made(self, bus, *args, **kw):
    kw = _asked(args, kw)
    before = None
    if _uarts.get(bus) is self:
        before = self._set
        _as_it_was(self, kw)
        for name, value in zip(_IN_ORDER[1:], before[2:]):
            kw.setdefault(name, value)
    try:
        _uart_init(self, bus, **kw)
    except Exception:  # it is refused, and is as it was
        self._set = before
        raise
    if type(self) is machine.UART:
        _uarts[bus] = self


def _uart_again(self, *args, **kw):
    if not args and not kw and self._baud:
        return
    kw = _asked(args, kw)
    kw.setdefault("rxbuf", _as_it_was(self, kw))
    self._start(**kw)


machine.UART.__new__ = _uart_new
machine.UART.__init__ = _uart_made
machine.UART.init = _uart_again
machine.check_bus = check_bus
machine.check_mode = check_mode
machine.fourth_of_pin = fourth_of_pin
machine.take_pins = take_pins
machine.analog_pin = analog_pin
machine.uart_clock = lambda baud: baud
machine.never_set = (3, 2, _NO_FUNCTION)
machine.own_pins = own_pins
machine.alt_name = alt_name
machine.name_functions = name_functions
machine.adc_channel = adc_channel
machine.spi_clock = spi_clock
machine.spi_default_hz = 1000000
machine.uart_default_room = 256
machine.uart_least_room = 32
machine.ADC.CORE_TEMP = 4
machine.pwm_place = lambda pin: (pin >> 1 & 7, pin & 1, 4)
machine.check_watchdog = check_watchdog
machine.first_weekday = 0
machine.UART.IRQ_RXIDLE = 64
machine.UART.IRQ_TXIDLE = 32
machine.UART.IRQ_BREAK = 512
machine.UART._triggers = 64 | 32 | 512
machine.UART._each = 0
machine.UART._idle = 64
