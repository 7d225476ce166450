"""What `machine` of the STM32 boards has of its own: pins by name, as far as the board's `pins.csv`
lists them; buses whose pins the board's header says; how reset causes are told.
"""

import machine

# Set by boot.py from the host's table of the board.
pins = ()
adc_pins = ()
buses = {}  # kind → the numbers that the header defines
pclk_hz = 0  # what SPI1 is clocked from

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


def check_bus(kind, bus, pins):
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


def adc_channel(channel):
    if isinstance(channel, int):
        return channel
    pin = channel if isinstance(channel, machine.Pin) else machine.Pin(channel)
    number = pin._n
    if number not in adc_pins:
        name = "%s%d" % (chr(65 + (number >> 4)), number & 15)
        raise ValueError("Pin(%s) does not have ADC capabilities" % name)
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
machine.closed_write = None
machine.edges = lambda trigger: trigger >> 17 & 8 | trigger >> 19 & 4
machine.pin_number = pin_number
machine.check_bus = check_bus
machine.check_alt = lambda pin, mode, alt: None
machine.pwm_slice = lambda pin: pin
machine.check_watchdog = check_watchdog
machine.first_weekday = 1
machine.UART.IRQ_RX = 32
machine.UART.IRQ_RXIDLE = 16
machine.UART._triggers = 32 | 16
machine.UART._each = 32
machine.UART._idle = 16
machine.Pin.ALT = 2
machine.Pin.ANALOG = 3
machine.Pin.OPEN_DRAIN = 17
machine.spi_clock = spi_clock
machine.adc_channel = adc_channel
