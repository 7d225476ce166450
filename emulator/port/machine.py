"""`machine` of the board, as far as firmware uses it. Every access goes to the host."""

import time

import flash
import late
import link
from micropython import const

PWRON_RESET = const(1)
WDT_RESET = const(3)

# The port's own (machine_rp2.py, machine_stm32.py), which refuses what the port refuses, in its
# words: a pin's number by its name, the buses that the board has, how an SPI's clock comes out.
pin_number = None
name_functions = None  # gives `Pin` its constants
edges = None  # of a trigger: 4 falling, 8 rising
irq_of = None  # what irq() answers
closed_write = None  # what write() answers of a UART that is closed; None: nothing
adc_channel = None
never_set = None  # what a pin is set to that nothing was done to
analog_pin = None  # tells that a channel's pin is one
take_pins = None  # tells that a bus has its pins
uart_clock = None
uart_default_room = 0  # bytes
uart_least_room = 0
spi_default_hz = 0
clocks = None  # what freq() makes of the clock; None: it is said as it is
check_bus = None
fourth_of_pin = None  # what the fourth argument of a pin is: its alternate function, or refused
check_mode = None  # of a pin: what it becomes (below), from what is asked for
spi_clock = None
default_bus = 0  # of an SPI that is given none
set_hz = 0  # what it was set to


# What each pin is set to: the level of an output, with one of these bits that of an output which is
# only pulled down, or of one that is none yet.
_driven = {}
_OPEN = const(2)
_LATCH = const(4)

# By number: there is one of each. A board has them in ROM, and what each is set to in registers:
# none of it is in the firmware's heap.
_MOST_PINS = const(128)
_UNTOUCHED = const(255)
_pins = [None] * _MOST_PINS
_set_to = bytearray(b"\xff" * (3 * _MOST_PINS))
_triggers = bytearray(_MOST_PINS)  # the edges that its handler is called at


def set_to(number, mode, pull, alt):
    """A pin's mode, pulls and alternate function are these from now on."""
    _set_to[3 * number] = mode
    _set_to[3 * number + 1] = pull
    _set_to[3 * number + 2] = alt


def setting(number, which):
    """What it is set to: 0 the mode, 1 pulls, 2 the alternate function."""
    value = _set_to[3 * number + which]
    return never_set[which] if _set_to[3 * number] == _UNTOUCHED else value


class Pin:
    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    ALT = 3
    ANALOG = 4
    PULL_UP = 1
    PULL_DOWN = 2

    def __new__(cls, name, *_, **__):
        number = name._n if isinstance(name, Pin) else pin_number(name)
        pin = _pins[number]
        if pin is None:
            pin = _pins[number] = object.__new__(cls)
            pin._n = number
        return pin

    def __init__(self, name, mode=-1, pull=-1, *fourth, value=None, alt=-1):
        if fourth:
            alt = fourth_of_pin(*fourth)
        if mode != -1 or pull != -1 or value is not None:
            self._set_up(mode, pull, value, alt)

    def _set_up(self, mode, pull, value, alt):
        """What is posted: the mode (0 in, 1 out, 2 open drain, 3 another, 7 as it is), pulls from
        bit 4, and the output's level in bit 8."""
        n = self._n
        mode, pull, alt = check_mode(self, mode, pull, alt)
        how = 7
        level = 0
        driven = _driven.get(n, _LATCH)
        if mode == 1 or mode == self.OPEN_DRAIN:
            how = 1 if mode == 1 else 2
            level = (driven & 1 if how == 1 else 1) if value is None else 1 if value else 0
            _driven[n] = level | _OPEN if how == 2 else level
        elif mode >= 0:
            how = 3 if mode else 0
            _driven.pop(n, None)
        set_to(n, mode if mode >= 0 else setting(n, 0), pull, max(alt, 0))
        link.set_pin(n, how | (pull & 3) << 4 | level << 8)

    def value(self, v=link):
        n = self._n
        driven = _driven.get(n, _LATCH)
        if v is link:  # it was given none
            return link.level(n) if driven & ~1 else driven
        v = 1 if v else 0
        _driven[n] = driven & ~1 | v
        if driven & _LATCH:
            return  # not an output: what it will be when it is made one
        link.post(link.OP_PIN_SET, n, v)
        if driven:
            link._moved = True

    def __call__(self, v=link):
        return self.value(v)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=link, trigger=None, hard=False):
        if handler is link:  # it was given none
            handler = None
            if trigger is None:
                return irq_of(self)
        if trigger is None:
            trigger = Pin.IRQ_FALLING | Pin.IRQ_RISING
        _triggers[self._n] = edges(trigger)
        time.had[self._n] = 0
        time._handlers[self._n] = (handler, self) if handler else None
        link.post(link.OP_PIN_IRQ, self._n, _triggers[self._n] if handler else 0)
        return irq_of(self)

    def __repr__(self):
        return late.shown(self, "pin")

    def __getattr__(self, name):
        return late.more(self, "pin", name)


class _PinNames:
    """`Pin.board` and `Pin.cpu`. has: whether a name is of that kind."""

    def __init__(self, has):
        self._has = has

    def __getattr__(self, name):
        if self._has(name):
            try:
                return Pin(name)
            except ValueError:
                pass
        raise AttributeError("'type' object has no attribute '%s'" % name)


ABSENT = const(254)  # in place of a pin: the bus has none there


def _bus(kind, number, pins, idle=0):
    """The host hears which pins a bus is on: a byte each, FF for those that it has, FE for none.
    idle: the clock's level."""
    value = 0
    for pin in reversed(pins):
        value = value << 8 | (255 if pin is None else pin if pin is ABSENT else pin_of(pin)._n)
    link.post(link.OP_BUS, kind << 4 | number, value)
    take_pins(kind, number, pins, idle)


def pin_of(pin):
    return pin if isinstance(pin, Pin) else Pin(pin)


class ADC:
    def __init__(self, channel):
        self._n = adc_channel(channel)
        self._of = channel
        analog_pin(channel, self._n)

    def __repr__(self):
        return late.shown(self, "adc")

    def read_u16(self):
        return link.call(link.OP_ADC, 0, self._n)


class SPI:
    MSB = 0
    LSB = 1

    def __init__(
        self,
        id=None,
        baudrate=None,
        *,
        polarity=0,
        phase=0,
        bits=8,
        firstbit=None,
        sck=None,
        mosi=None,
        miso=-1,
    ):
        bus = default_bus if id is None else id
        absent = miso is None
        if miso == -1:
            miso = None
        check_bus("SPI", bus, (sck, mosi, miso))
        if firstbit not in (None, self.MSB):
            raise NotImplementedError("not emulated: SPI.LSB (docs/guides/emulator.md)")
        self._n = bus
        self._baud = spi_clock(baudrate or spi_default_hz)
        self._set = (sck, mosi, miso, polarity, phase, bits)
        _bus(1, bus, (sck, mosi, ABSENT if absent else miso), polarity)

    def __repr__(self):
        return late.shown(self, "spi")

    def write(self, buf):
        buf = memoryview(buf)
        if not buf:
            raise OSError(5)
        link.charged += len(buf) * 8000000 // self._baud
        link.post(link.OP_SPI_WRITE, self._n, self._baud, buf)

    def deinit(self):
        pass

    def __getattr__(self, name):
        return late.more(self, "spi", name)


class I2C:
    _NOBODY = 5  # EIO: what an address that nobody answers is told as

    def __init__(self, id=0, freq=400000, *, scl=None, sda=None, timeout=50000):
        check_bus("I2C", id, (scl, sda))
        self._n = id
        self._freq = freq
        self._set = (scl, sda, timeout)
        _bus(2, id, self._set[:2])

    def __repr__(self):
        return late.shown(self, "i2c")

    def writeto(self, addr, buf, stop=True):
        buf = memoryview(buf)
        if not link.call(link.OP_I2C_WRITE, self._n, addr << 24 | self._freq // 1000, buf):
            raise OSError(self._NOBODY)
        return len(buf)

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join(bytes(part) for part in vector))

    def __getattr__(self, name):
        return late.more(self, "i2c", name)


line = 0  # set by boot.py: the UART that the board's serial line hangs on


class UART:
    def __init__(
        self,
        bus,
        baudrate=115200,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        rxbuf=0,
        timeout=0,
        timeout_char=0,
        **kw,
    ):
        check_bus("UART", bus, (tx, rx))
        self._n = bus
        self._set = (tx, rx, bits, parity if parity is None else parity & 1, stop)
        _bus(0, bus, self._set[:2])
        self._start(baudrate, rxbuf=rxbuf, timeout=timeout, timeout_char=timeout_char, **kw)

    def __repr__(self):
        return late.shown(self, "uart")

    def _start(self, baudrate=115200, rxbuf=0, timeout=0, timeout_char=0, **kw):
        uart_clock(baudrate)
        if kw:
            self._take_more(kw)
        rxbuf = max(rxbuf, uart_least_room) if rxbuf else uart_default_room
        self._baud = baudrate
        self._set = self._set[:5] + (rxbuf, timeout, timeout_char)
        link.post(link.OP_UART_CONFIG, self._n, baudrate, rxbuf.to_bytes(2, "little"))
        if timeout:
            self._be_patient(timeout, timeout_char)

    init = _start

    def any(self):
        if self._n != line:
            return link.call(link.OP_UART_ANY, self._n)
        return link.received()

    def readinto(self, buf, n=None):
        room = memoryview(buf)
        if n is None or n > len(room):
            n = len(room)
        room[:0] = b""  # refuses what cannot be written to
        if not n:
            return 0
        got = link.call(link.OP_UART_READ, self._n, n)
        link.answer_into(room)
        return got or None

    def read(self, n=256):
        link.call(link.OP_UART_READ, self._n, n)
        return link.answer() or None

    def write(self, buf):
        if isinstance(buf, str):
            buf = buf.encode()
        buf = memoryview(buf)
        if not self._baud:
            return closed_write and closed_write(buf)
        link.charged += len(buf) * 10000000 // self._baud
        link.post(link.OP_UART_WRITE, self._n, 0, buf)
        return len(buf)

    def deinit(self):
        self._baud = 0
        link.post(link.OP_UART_CONFIG, self._n, 0)

    def __getattr__(self, name):
        return late.more(self, "uart", name)


# Set by boot.py: whether this chip has an STM32's real-time clock. Its time registers follow from
# the clock alone, so they are worked out on this side, without a turn on the pipe.
has_rtc_registers = 0
light_ms = 1000  # what a light sleep makes of a millisecond, µs
factory_words = {}  # and what stands in its system memory
_RTC_TR = const(0x40002800)
_RTC_SSR = const(0x40002828)
_RCC_PLLCFGR = const(0x4002100C)

# Its flash controller: two words that can only go well go as one, and the status register needs no
# turn after them.
_FLASH_BASE = const(0x08000000)
_FLASH_KEYR = const(0x40022008)
_FLASH_SR = const(0x40022010)
_FLASH_CR = const(0x40022014)
_KEY2 = const(0xCDEF89AB)
_EOP = const(1)
_BLANK = b"\xff" * 8
_programming = False  # unlocked, and PG set
_unlocked = False
_doubt = True
_first_at = -1  # address of a word that waits for the second of its pair, and that word
_first = 0


def _goes_well(address, value):
    """Takes a word of flash when there is no doubt what it will do."""
    global _first_at, _first
    if not _programming or flash.memory is None or not link.flash_is_sure():
        return False
    if not address & 7:
        if flash.memory[address - _FLASH_BASE : address - _FLASH_BASE + 8] != _BLANK:
            return False
        _pass_first()
        _first_at = address
        _first = value
        return True
    if address != _first_at + 4:
        return False
    link.post_words(_first_at, _first, value)
    _first_at = -1
    return True


def _pass_first():
    """The word that waits goes by itself."""
    global _first_at, _doubt
    if _first_at >= 0:
        address = _first_at
        _first_at = -1
        _doubt = True
        _post_register(4, address, _first)


# Set by boot.py: the registers that are modelled, and first and last address of ranges that are.
registers = ()
modelled = ()


def _check_modelled(address):
    for n in range(0, len(modelled), 2):
        if modelled[n] <= address <= modelled[n + 1]:
            return
    words = "not emulated: register 0x%08x (docs/guides/emulator.md)"
    raise NotImplementedError(words % address)


def _post_register(size, address, value):
    if address & ~3 not in registers:
        _check_modelled(address)
    link.post_slow(link.OP_REG_SET, size, address, value.to_bytes(4, "little"))


def _watch_flash(address, value):
    global _programming, _unlocked, _doubt
    if address == _FLASH_KEYR:
        _unlocked = value == _KEY2
    elif address == _FLASH_CR:
        _programming = _unlocked and value == 1
        _unlocked = _unlocked and value < 0x80000000
        _doubt = not _programming
    elif not _programming or flash.memory is None or address >= _FLASH_SR:
        _doubt = True
    elif flash.memory[address - _FLASH_BASE] & flash.memory[address - _FLASH_BASE + 3] != 255:
        _doubt = True


def _rtc(address):
    """TR: hours, minutes and seconds in BCD. SSR: steps of 4 ms, counting down, as the board's
    header sets them (RTC_SYNCH_PREDIV)."""
    us = link.now_us()
    if address == _RTC_SSR:
        return 249 - us % 1000000 // 4000
    seconds = us // 1000000 % 86400
    value = 0
    for part in (seconds // 3600, seconds // 60 % 60, seconds % 60):
        value = value << 8 | part // 10 << 4 | part % 10
    return value


class _Registers:
    def __init__(self, size):
        self._size = size

    def __repr__(self):
        return "<%d-bit memory>" % (8 * self._size)

    def _check(self, address):
        if address & self._size - 1:
            words = "address %08x is not aligned to %d bytes" % (address, self._size)
            raise ValueError(words)

    def __getitem__(self, address):
        """An int of 32 bits with its sign, as the boards' MicroPython makes it."""
        value = self._get(address)
        return value - (1 << 32) if value >= 1 << 31 else value

    def _get(self, address):
        self._check(address)
        if has_rtc_registers:
            if address in (_RTC_TR, _RTC_SSR):
                return _rtc(address)
            if address in factory_words:
                link.charge(link._CALL_US)
                return factory_words[address] & ((1 << 8 * self._size) - 1)
        if address == _FLASH_SR and not _doubt and _first_at < 0 and link.flash_is_sure():
            link.charge(link._CALL_US)
            return _EOP  # the last operation is done by the time that anybody can look
        if _first_at >= 0:
            _pass_first()
        if address & ~3 not in registers:
            _check_modelled(address)
        return link.call(link.OP_REG_GET, self._size, address) & ((1 << 8 * self._size) - 1)

    def __setitem__(self, address, value):
        self._check(address)
        value &= 0xFFFFFFFF
        if has_rtc_registers:
            if _FLASH_BASE <= address < 0x10000000:
                if self._size == 4 and _goes_well(address, value):
                    return
                _pass_first()
                _watch_flash(address, value)
            elif _FLASH_KEYR <= address <= _FLASH_CR:
                _pass_first()
                _watch_flash(address, value)
            elif address == _RCC_PLLCFGR:
                # MSI (4 MHz) × PLLN / PLLR. What MicroPython takes for the clock of a bus stays.
                link.set_clock(4 * (value >> 8 & 127) / (2 * (value >> 25 & 3) + 2))
        _post_register(self._size, address, value)


mem8 = _Registers(1)
mem16 = _Registers(2)
mem32 = _Registers(4)


slept = False  # lightly, since the clocks were set


def lightsleep(ms=None):
    global slept
    slept = True
    us = 1 << 40 if ms is None else ms * light_ms
    time.wait(us, time.SLEEP_LIGHT | time.WAKE_PIN | time.WAKE_TIMER)


def deepsleep(ms=0):
    link.call(link.OP_OFF, 0, ms)


def reset():
    link.call(link.OP_RESET)


def soft_reset():
    link.call(link.OP_RESET)


def reset_cause():
    return link.call(link.OP_RESET_CAUSE)


def idle():
    time.wait(1000, time.WAKE_PIN | time.WAKE_UART | time.WAKE_TIMER)


def freq(hz=None):
    if hz is None:
        hz = set_hz or link.call(link.OP_FREQ)
        return clocks(hz) if clocks else hz
    link.late("machine", "check_freq")(hz)
    global slept
    slept = False
    link.post_slow(link.OP_FREQ, 0, hz, b"")


def unique_id():
    link.call(link.OP_RANDOM, 1, 8)
    return link.answer()


def __getattr__(name):
    return link.late("machine", name)
