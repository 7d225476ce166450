"""What `machine` of the STM32 boards has of its own: pins by name, as far as the board's `pins.csv`
lists them; buses whose pins the board's header says; how reset causes are told.
"""

import machine

# Set by boot.py from the host's table of the board.
pins = ()
adc_pins = ()
adc_channels = ()  # of these
buses = {}  # kind → the numbers that the header defines
bus_pins = {}  # bus → its pins
alternates = ""  # "A0:1_TIM2 …": pin, function, what has it
pwm_pins = ""  # "A0:5.1.2 …": pin, timer, channel, function
pclk_hz = 0  # what SPI1 and USART1 are clocked from

machine.HARD_RESET = 2
machine.DEEPSLEEP_RESET = 4
machine.SOFT_RESET = 0
machine.ADC.CORE_VREF = 256
machine.ADC.CORE_TEMP = 257
machine.ADC.CORE_VBAT = 258
machine.Pin.board = machine.Pin.cpu = machine._PinNames(lambda name: True)
machine.Pin.IRQ_RISING = 0x10110000
machine.Pin.IRQ_FALLING = 0x10210000


def pin_number(name):
    """'C13' is port 2, bit 13, so 0x2D."""
    if not isinstance(name, str):
        raise TypeError("can't convert to str")
    if name not in pins:
        raise ValueError("Pin(%s) doesn't exist" % name)
    return (ord(name[0]) - 65) << 4 | int(name[1:])


_SOFT = -1


def check_bus(kind, bus, pins):
    if bus == _SOFT and kind == "SPI":
        raise ValueError("must specify all of sck/mosi/miso")
    if bus not in buses[kind]:
        raise ValueError("%s(%s) doesn't exist" % (kind, bus))
    if any(pin is not None for pin in pins):
        if kind == "SPI":
            raise ValueError("explicit choice of sck/mosi/miso is not implemented")
        raise TypeError("extra keyword arguments given")


def spi_clock(hz):
    """Of the divisors 2, 4 … 256 the smallest that gives no more than was asked for."""
    divisor = 2
    while divisor < 256 and divisor * hz < pclk_hz:
        divisor *= 2
    return pclk_hz // divisor


def uart_clock(baud):
    """The rate that comes of a whole divisor of 16 bits."""
    if not baud:
        return 0
    actual = pclk_hz // max((pclk_hz + baud // 2) // baud & 0xFFFF, 1)
    if abs(actual - baud) * 20 > baud:
        raise ValueError("set baudrate %d is not within 5%% of desired value" % actual)
    return actual


_MODES = (0, 1, 2, 3, 17, 18)
_ALT = (2, 18)


def check_mode(pin, mode, pull, alt):
    if mode == -1:
        raise TypeError("'mode' argument required")
    if mode not in _MODES:
        raise ValueError("invalid pin mode: %d" % mode)
    pull = 0 if pull is None or pull == -1 else pull
    if not 0 <= pull <= 2:
        raise ValueError("invalid pin pull: %d" % pull)
    if mode not in _ALT:
        return mode, pull, machine.setting(pin._n, 2)
    if not -1 <= alt <= 15:
        raise ValueError("invalid pin af: %d" % alt)
    return mode, pull, alt & 15


def take_pins(kind, number, pins, idle):
    if number >= 8:
        for at, pin in enumerate(pins):
            n = machine.pin_of(pin)._n
            mode = 17 if kind == 2 else 1 if at < 2 else 0
            machine.set_to(n, mode, machine.setting(n, 1), 0)
        return
    for n in bus_pins.get(("UART%d", "SPI%d")[kind] % number, ()):
        machine.set_to(n, 2, (1 if idle else 2) if kind else 0, 5 if kind else 7)


def analog_pin(channel, number):
    if not isinstance(channel, int):
        machine.set_to(machine.pin_of(channel)._n, 3, 0, 0)


def name_of(number):
    return "%s%d" % (chr(65 + (number >> 4)), number & 15)


def alternate(pin, function):
    """A pin's alternate function as MicroPython names it, or its number."""
    begin = "%s:%d_" % (name_of(pin), function)
    for one in alternates.split():
        if one.startswith(begin) and _has(one):
            return "Pin.AF" + one.split(":")[1]
    return str(function)


def _has(one):
    """It names timers, and the buses that the board defines."""
    kind = one.split("_")[1]
    if kind.startswith("TIM"):
        return True
    kind = kind.replace("USART", "UART")
    return kind[-1:].isdigit() and int(kind[-1:]) in buses.get(kind[:-1], ())


def name_functions():
    for one in alternates.split():
        pin, name = one.split(":")
        if pin in pins and _has(one):
            setattr(machine.Pin, "AF" + name, int(name.split("_")[0]))


def pwm_place(number):
    """Timer, channel and alternate function of the pin's PWM."""
    begin = name_of(number) + ":"
    for one in pwm_pins.split():
        if one.startswith(begin):
            return tuple(int(part) for part in one[len(begin) :].split("."))
    raise ValueError("Pin(%s) doesn't have PWM capabilities" % name_of(number))


def adc_channel(channel):
    if isinstance(channel, int):
        return channel
    pin = channel if isinstance(channel, machine.Pin) else machine.Pin(channel)
    number = pin._n
    if number not in adc_pins:
        raise ValueError("Pin(%s) does not have ADC capabilities" % name_of(number))
    return number


def check_watchdog(ms):
    """Ticks of 125 µs in twelve bits, behind a prescaler of up to 64."""
    for _ in range(6):
        if ms < 512:
            break
        ms //= 2
    if ms * 8 <= 0:
        raise ValueError("WDT timeout too short")
    if ms * 8 > 0xFFF:
        raise ValueError("WDT timeout too long")


machine.irq_of = lambda pin: None
machine.default_bus = _SOFT
machine.closed_write = None
machine.edges = lambda trigger: trigger >> 17 & 8 | trigger >> 19 & 4
machine.pin_number = pin_number
machine.check_bus = check_bus
machine.check_mode = check_mode
machine.fourth_of_pin = int
machine.take_pins = take_pins
machine.analog_pin = analog_pin
machine.uart_clock = uart_clock
machine.alternate = alternate
machine.adc_number = lambda pin: adc_channels[adc_pins.index(pin)]
machine.name_of = name_of
machine.spi_default_hz = 500000
machine.uart_default_room = 64
machine.clocks = lambda hz: (hz, hz, pclk_hz, pclk_hz)  # of the core, AHB, APB1, APB2
machine.never_set = (3, 0, 0)
machine.pwm_place = pwm_place
machine.check_watchdog = check_watchdog
machine.first_weekday = 1
machine.UART.IRQ_RX = 32
machine.UART.IRQ_RXIDLE = 16
machine.UART._triggers = 32 | 16
machine.UART._each = 32
machine.UART._idle = 16
machine.Pin.ALT = 2
machine.Pin.ANALOG = 3
machine.Pin.OPEN_DRAIN = machine.Pin.OUT_OD = 17
machine.Pin.OUT_PP = 1
machine.Pin.AF_PP = 2
machine.Pin.AF_OD = machine.Pin.ALT_OPEN_DRAIN = 18
machine.Pin.PULL_NONE = 0
machine.name_functions = name_functions
machine.spi_clock = spi_clock
machine.adc_channel = adc_channel
