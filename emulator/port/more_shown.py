"""How things of `machine` are printed: as the boards' ports do, in their words."""

import machine

_MODES = {0: "IN", 1: "OUT", 2: "OPEN_DRAIN", 3: "ALT"}
_STM32_MODES = {
    0: "IN",
    1: "OUT",
    2: "ALT",
    3: "ANALOG",
    17: "OPEN_DRAIN",
    18: "ALT_OPEN_DRAIN",
}
_PULLS = ("", "PULL_UP", "PULL_DOWN", "PULL_UP|PULL_DOWN")
_is_rp2 = machine.closed_write is not None


def pin(it):
    mode, pull, alt = (machine.setting(it._n, which) for which in range(3))
    if not _is_rp2:
        return _stm32_pin(it._n, mode, pull, alt)
    said = "Pin(GPIO%d, mode=%s" % (it._n, _MODES[mode])
    if pull:
        said += ", pull=" + _PULLS[pull]
    if mode == 3:
        said += ", alt=%s" % machine.alt_name(alt)
    return said + ")"


def _stm32_pin(number, mode, pull, alt):
    said = "Pin(Pin.cpu.%s, mode=Pin.%s" % (machine.name_of(number), _STM32_MODES[mode])
    if pull:
        said += ", pull=Pin." + _PULLS[pull]
    if mode in (2, 18):
        said += ", alt=" + machine.alternate(number, alt)
    return said + ")"


def adc(it):
    if _is_rp2:
        return "<ADC channel=%d>" % (it._n - 26 if it._n >= 26 else it._n)
    of = it._of if isinstance(it._of, int) else machine.adc_number(it._n)
    return "<ADC1 channel=%d>" % of


def _named(it, kind, count):
    """The pins of a bus, as they are printed."""
    if _is_rp2 and kind + str(it._n) in machine.own_pins:
        return tuple(str(n) for n in machine.own_pins[kind + str(it._n)])
    numbers = (machine.pin_of(p)._n for p in it._set[:count])
    return tuple(str(n) if _is_rp2 else machine.name_of(n) for n in numbers)


def spi(it):
    how = "polarity=%d, phase=%d" % it._set[3:5]
    if it._n >= 8:
        words = "SoftSPI(baudrate=%d, %s, firstbit=%d, sck=%s, mosi=%s, miso=%s)"
        return words % ((_soft_spi_clock(it._baud), how, _is_rp2) + _named(it, "SPI", 3))
    said = "SPI(%d, baudrate=%d, %s, bits=%d" % (it._n, it._baud, how, it._set[5])
    if _is_rp2:
        said += ", sck=%s, mosi=%s, miso=%s" % _named(it, "SPI", 3)
    return said + ")"


def _soft_spi_clock(hz):
    """Half a clock is so many µs, or as short as it can be."""
    most = 500000 if _is_rp2 else machine.freq()[0] // 48
    return most if hz >= most else 500000 // -(-500000 // hz)


def i2c(it):
    if it._n >= 8:
        return "SoftI2C(scl=%s, sda=%s, freq=%d)" % (
            _named(it, "I2C", 2) + (500000 // max(500000 // it._freq, 1),)
        )
    clock = machine.freq()
    freq = clock // ((clock + it._freq // 2) // it._freq)
    words = "I2C(%d, freq=%d, scl=%s, sda=%s, timeout=%d)"
    return words % ((it._n, freq) + _named(it, "I2C", 2) + it._set[2:])


def uart(it):
    rxbuf, timeout, between = it._set[5:]
    least = 13000 // it._baud + (1 if _is_rp2 else 2) if it._baud else 0
    between = max(between, least)
    said = "UART(%d, baudrate=%d" % (it._n, machine.uart_clock(it._baud))
    said += ", bits=%d, parity=%s, stop=%d" % it._set[2:5]
    if _is_rp2:
        said += ", tx=%s, rx=%s" % _named(it, "UART", 2)
        return said + ", txbuf=256, rxbuf=%d, timeout=%d, timeout_char=%d, invert=None, irq=0)" % (
            rxbuf,
            timeout,
            between,
        )
    return said + ", flow=0, timeout=%d, timeout_char=%d, rxbuf=%d)" % (timeout, between, rxbuf)
