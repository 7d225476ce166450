"""What `machine` of the RP2 boards has of its own: pins by number, and its refusals."""

import machine

_PINS = 30
_I2C0_SDA = (0, 4, 8, 12, 16, 20)
_ADC_FIRST = 26


def pin_number(name):
    if isinstance(name, str):
        if name[:2] != "GP" or not name[2:].isdigit() or int(name[2:]) >= _PINS:
            raise ValueError('unknown named pin "%s"' % name)
        return int(name[2:])
    if not isinstance(name, int) or not 0 <= name < _PINS:
        raise ValueError("invalid pin")
    return name


def check_bus(kind, bus, pins):
    if bus not in (0, 1):
        raise ValueError("%s(%s) doesn't exist" % (kind, bus))
    if kind == "SPI":
        return
    # (SCL, SDA) and (TX, RX): the second or the first of each pair of pins of four (RP2040 data
    # sheet, table 2: functions of the pins).
    for pin, second, name in zip(pins, (kind == "I2C", kind == "UART"), _NAMES[kind]):
        if pin is None:
            continue
        if kind == "I2C":
            fits = pin._n & 1 == second and pin._n >> 1 & 1 == bus
        else:
            fits = pin._n & 3 == second and (pin._n + 4) >> 3 & 1 == bus
        if not fits:
            raise ValueError("bad %s pin" % name)


_NAMES = {"I2C": ("SCL", "SDA"), "UART": ("TX", "RX")}


def adc_channel(channel):
    number = channel._n if isinstance(channel, machine.Pin) else channel
    if isinstance(number, int) and (
        _ADC_FIRST <= number < _PINS or number <= 4 and channel is number
    ):
        return number
    raise ValueError("Pin doesn't have ADC capabilities")


machine.Pin.IRQ_FALLING = 4
machine.Pin.IRQ_RISING = 8
machine.irq_of = lambda pin: pin
machine.closed_write = len
machine.edges = lambda trigger: trigger
machine.pin_number = pin_number
machine.check_bus = check_bus
machine.adc_channel = adc_channel
machine.spi_clock = lambda hz: hz
