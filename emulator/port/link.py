"""The pipe to the host: posted messages (no answer) are gathered, calls flush them and wait.

A message is `op(1) arg(1) length(2) value(4) cpu_us(4)`, little endian, then `length` bytes. An
answer is `value(4, signed) length(2) now(8) levels(16) received(2)`, then `length` bytes. `cpu_us`
is time to charge before the message takes effect: the wire's, and the CPU's from the host's cost
table for this chip. `now` is virtual time in µs, `levels` has a bit for every pin (the last bit:
flash takes whatever is programmed), `received` is how many bytes the UART holds. They can only
change while this side waits for an answer, so asking for them costs no turn on the pipe.
"""

import struct

from micropython import const

# Operations: emulator/interpreter/link.py has the same table; a test compares them.
OP_NOW = 1
OP_WAIT = 2
OP_PIN_SET = 3
OP_PIN_IRQ = 5
OP_ADC = 6
OP_SPI_WRITE = 7
OP_I2C_WRITE = 8
OP_UART_CONFIG = 9
OP_UART_READ = 11
OP_UART_WRITE = 12
OP_FLASH_ERASE = 13
OP_FLASH_PROGRAM = 14
OP_FLASH_READ = 15
OP_OFF = 16
OP_RESET = 17
OP_RESET_CAUSE = 18
OP_RANDOM = 19
OP_CRASH = 20
OP_REG_GET = 21
OP_REG_SET = 22
OP_FREQ = 23
OP_HEAP = 24
OP_FLASH_WORDS = 25
OP_USB_ACTIVE = 32
OP_USB_SUBMIT = 33
OP_USB_EVENT = 34
OP_LOOK = 40
OP_PROMPT = 41
OP_PIN_MODE = 4
OP_BUS = 10
OP_SPI_READ = 26
OP_I2C_READ = 27
OP_TIMER = 28
OP_WDT = 29
OP_PWM = 30
OP_UART_IRQ = 31
OP_HEAR = 35
OP_DECLARED = 36
OP_UART_ANY = 37
OP_DEBUG = 38
OP_P256 = 39

_HEADER = "<BBHII"
_MAX = 1024
# Calls of the interpreter, on a Cortex-M at about 100 MHz. If they cost nothing, a loop that polls
# would never end.
_CALL_US = 20
_LOOK_US = 13  # at the clock or a pin
_AGED_US = 1000
_BYTE_US = 150
_SURE = const(0x80)  # of the last byte of the levels
_FIRED = const(0x40)  # likewise: something fired, and no wait has told of it

# The mailbox of a resident chip: emulator/interpreter/resident.py has the same table.
_BOX_POSTED = const(16)
_BOX_HEAD = const(32)
_BOX_DATA = const(64)
_BOX_DATA_ROOM = const(65536)
_BOX_OUT_ROOM = const(67584)

_out = None
_head = None
_used = 0
_room = 0  # of _out
_way = None  # a _Pipe, or a _Mailbox
_words = -1  # where in _out the last message begins, when that is OP_FLASH_WORDS
_words_end = 0  # the address that follows it
charged = 0  # CPU time since reset, µs
_told = 0  # as much of it as was posted
_answered = 0  # as much as there was at the last answer
clock_mhz = 0  # set by boot.py: what the chip starts with, where it can be changed
_slow = 256  # what a µs of work takes now, in 256ths
_part = 0  # of a µs, that is not charged yet
_looked = False  # at the UART since the last answer, in vain
_stale = True  # something of unknown duration was posted since
_moved = False  # a pin was set up since, which changes levels
hear = None  # set by time.py: runs the handlers of what fired


class _Pipe:
    """The host is another process."""

    def __init__(self, rd, wr, flash_address):
        global _out, _head, _room
        self._rd = open(rd, "rb", 0)
        self._wr = open(wr, "wb", 0)
        self._flash_address = flash_address
        _out = bytearray(_MAX)
        _head = bytearray(32)
        _room = _MAX
        self.take = self._rd.read
        self.settings = self.take(int.from_bytes(self.take(4), "little"))

    def ready(self):
        if self._flash_address:
            self._wr.write(b"r")  # a mother is ready to fork
        if self.take(1) != b"g":
            raise OSError(32)
        return self._flash_address

    def pass_on(self):
        global _used
        n = _used
        _used = 0
        self._wr.write(memoryview(_out)[:n])

    def pass_large(self, data):
        self.pass_on()
        self._wr.write(data)

    def turn(self):
        self.pass_on()
        if self._rd.readinto(_head) != 32:
            raise OSError(32)  # the host has gone without switching us off

    def take_into(self, buf):
        self._rd.readinto(buf)


class _Mailbox:
    """The host is the same process: `box` is the address of memory that both look into, `there` and
    `here` those of the contexts to switch between."""

    def __init__(self, box, there, here):
        global _out, _head, _room
        import uctypes

        self._swap = _thing(box)
        self._contexts = (_thing(there), _thing(here))
        self._data = memoryview(uctypes.bytearray_at(box + _BOX_DATA, _BOX_DATA_ROOM))
        self._posted = uctypes.bytearray_at(box + _BOX_POSTED, 16)
        # For the host to find the heap by.
        struct.pack_into("<Q", self._posted, 8, uctypes.addressof(bytearray(16)))
        _out = uctypes.bytearray_at(box + _BOX_DATA + _BOX_DATA_ROOM, _BOX_OUT_ROOM)
        _head = uctypes.bytearray_at(box + _BOX_HEAD, 32)
        _room = _BOX_OUT_ROOM
        self.settings = self.take(struct.unpack_from("<i", _head)[0])

    def ready(self):
        self.turn()
        return int.from_bytes(_head[6:14], "little")

    def turn(self):
        global _used
        struct.pack_into("<I", self._posted, 0, _used)
        _used = 0
        self._swap(*self._contexts)

    pass_on = turn

    def take(self, n):
        return bytes(self._data[:n])

    def take_into(self, buf):
        buf[:] = self._data[: len(buf)]


def _thing(address):
    """What lies there, laid out like an object of MicroPython."""
    return struct.unpack("O", address.to_bytes(8, "little"))[0]


def open_link(kind, *numbers):
    """Returns the host's settings, JSON as bytes."""
    global _way
    _way = _Pipe(*numbers) if kind == "pipe" else _Mailbox(*numbers)
    return _way.settings


def wait_for_go():
    """The chip is held in reset until the host says so. Returns the address of the flash, 0 when
    there is none to look into."""
    address = _way.ready()
    ask(OP_NOW)  # the time and the levels of the pins, as they are out of reset
    return address


def charge(us):
    """The CPU works: `us` at the clock that it starts with."""
    global charged, _part
    us = us * _slow + _part
    charged += us >> 8
    _part = us & 255


def set_clock(mhz):
    """Of a chip that has changed it."""
    global _slow
    _slow = int(256 * clock_mhz / mhz)


def now_us():
    charge(_LOOK_US)
    if _stale or charged - _answered > _AGED_US:
        _look()
    return int.from_bytes(_head[6:14], "little") + charged - _answered


def now_us_unasked():
    """The time at the last answer, and what was charged since."""
    return int.from_bytes(_head[6:14], "little") + charged - _answered


def level(pin):
    charge(_LOOK_US)
    if _moved or charged - _answered > _AGED_US:
        _look()  # a loop that does nothing but look must see the world go on
    return _head[14 + (pin >> 3)] >> (pin & 7) & 1


def _look():
    ask(OP_NOW)
    if _head[29] & _FIRED:
        hear()


def set_pin(pin, how):
    """Sets a pin up: see `machine.Pin`."""
    global _moved
    _moved = True
    post(OP_PIN_MODE, pin, how)


def received():
    """Bytes that the UART holds. A loop that goes on looking in vain hears of a new one within
    the time of a byte or two at 115200 baud."""
    global _looked
    charge(_CALL_US)
    if _stale or (_looked and charged - _answered > _BYTE_US):
        ask(OP_NOW)
    n = _head[30] | _head[31] << 8
    _looked = n == 0
    return n


def flash_is_sure():
    """No program or erase can fail: what is posted will be done."""
    return _head[29] & _SURE


def catch_up():
    """Has what was posted done, before its effect is looked at."""
    if _stale:
        ask(OP_NOW)


def post_slow(op, arg, value, data):
    """Posts what takes a time that only the host knows."""
    global _stale
    _stale = True
    post(op, arg, value, data)


def post(op, arg=0, value=0, data=b""):
    global _used, _told, _words
    _words = -1
    n = len(data)
    if _used + 12 + n > _room:
        _way.pass_on()
    struct.pack_into(_HEADER, _out, _used, op, arg, n, value & 0xFFFFFFFF, charged - _told)
    _told = charged
    _used += 12
    if n <= _room - 12:
        _out[_used : _used + n] = data
        _used += n
    else:
        _way.pass_large(data)


def post_words(address, first, second):
    """Two words of flash, programmed as one unit. Of units in a row, with the same time between
    them, one message is made: `arg` is that time, µs."""
    global _used, _told, _words, _words_end, _stale
    us = charged - _told
    if (
        _words >= 0
        and address == _words_end
        and (_out[_words + 1] == us or (_out[_words + 2] == 8 and us < 256))
        and _used + 8 <= _room
        and _out[_words + 2] < 248
    ):
        _out[_words + 1] = us
        _out[_words + 2] += 8
        struct.pack_into("<II", _out, _used, first, second)
        _used += 8
        _told = charged
    else:
        post(OP_FLASH_WORDS, 0, address, struct.pack("<II", first, second))
        _words = _used - 20
        _stale = True
    _words_end = address + 8


def call(op, arg=0, value=0, data=b""):
    """Returns the answer's value; the answer's data stay to be taken with
    `answer_into`/`answer`.
    """
    charge(_CALL_US)
    return ask(op, arg, value, data)


def ask(op, arg=0, value=0, data=b""):
    """A call that costs the chip nothing: the emulator's own business."""
    global _answered, _stale, _looked, _moved
    post(op, arg, value, data)
    _way.turn()
    while _head[5] == 0xFF:
        _special()
    _answered = charged
    _stale = _looked = _moved = False
    return struct.unpack_from("<i", _head)[0]


aside_data = b""


def aside(op, arg, value, data):
    """A call that the firmware does not notice: what it knows of time and pins stays as it was."""
    global _answered, _stale, _looked, _moved, aside_data
    kept = bytes(_head)
    known = (_answered, _stale, _looked, _moved)
    ask(op, arg, value, data)
    aside_data = answer()
    _head[:] = kept
    _answered, _stale, _looked, _moved = known


late = None  # set by boot.py: late.name

_names = {}  # of the prompt


class Unwind(BaseException):
    """The host wants to know who made this call: the traceback at the top says it."""


def _special():
    """A length of FFxx is no length: FFFF unwinds; FFFE is source for the prompt, `value` bytes."""
    if _head[4] == 0xFF:
        raise Unwind
    source = str(_way.take(struct.unpack_from("<i", _head)[0]), "utf-8")
    try:
        try:
            text = repr(eval(source, _names))  # noqa: S307
        except SyntaxError:
            exec(source, _names)  # noqa: S102
            text = ""
    except BaseException as error:  # noqa: BLE001
        text = "%s: %s" % (type(error).__name__, error)
    post(OP_PROMPT, 0, 0, text.encode()[: _MAX - 12])
    _way.turn()


def answer():
    """The data of the last answer. Must be taken when there are any."""
    n = _head[4] | _head[5] << 8
    return _way.take(n) if n else b""


def answer_into(buf):
    n = _head[4] | _head[5] << 8
    if n:
        _way.take_into(memoryview(buf)[:n])
    return n
