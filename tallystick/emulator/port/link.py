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

# Operations: tallystick/emulator/link.py has the same table; a test compares them.
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
OP_USB_ACTIVE = 32
OP_USB_SUBMIT = 33
OP_USB_EVENT = 34
OP_LOOK = 40
OP_PROMPT = 41

_HEADER = "<BBHII"
_MAX = 1024
# Calls of the interpreter, on a Cortex-M at about 100 MHz. If they cost nothing, a loop that polls
# would never end.
_CALL_US = 20
_LOOK_US = 5  # at the clock or a pin
_AGED_US = 1000
_SURE = const(0x80)  # of the last byte of the levels

_out = bytearray(_MAX)
_head = bytearray(32)
_used = 0
_rd = None
_wr = None
cpu_us = 0
_since_us = 0  # charged since the last answer
_looked = False  # at the UART since the last answer, in vain
_stale = True  # something of unknown duration was posted since


def open_pipe(rd, wr):
    """Returns the host's settings, JSON as bytes."""
    global _rd, _wr
    _rd = open(rd, "rb", 0)
    _wr = open(wr, "wb", 0)
    return _rd.read(int.from_bytes(_rd.read(4), "little"))


def wait_for_go(mother):
    """The chip is held in reset until the host says so. A mother says that she is ready to fork."""
    if mother:
        _wr.write(b"r")
    if _rd.read(1) != b"g":
        raise OSError(32)
    ask(OP_NOW)  # the time and the levels of the pins, as they are out of reset


def charge(us):
    global cpu_us, _since_us
    cpu_us += us
    _since_us += us


def now_us():
    charge(_LOOK_US)
    if _stale:
        ask(OP_NOW)
    return int.from_bytes(_head[6:14], "little") + _since_us


def level(pin):
    charge(_LOOK_US)
    if _since_us > _AGED_US:
        ask(OP_NOW)  # a loop that does nothing but look must see the world go on
    return _head[14 + (pin >> 3)] >> (pin & 7) & 1


def received():
    """Bytes that the UART holds; nothing twice in a row only when the host has said so."""
    global _looked
    charge(_CALL_US)
    if _looked or _stale:
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


def flush():
    global _used
    if _used:
        n = _used
        _used = 0
        _wr.write(memoryview(_out)[:n])


def post(op, arg=0, value=0, data=b""):
    global _used, cpu_us
    n = len(data)
    if _used + 12 + n > _MAX:
        flush()
    struct.pack_into(_HEADER, _out, _used, op, arg, n, value & 0xFFFFFFFF, cpu_us)
    cpu_us = 0
    _used += 12
    if n <= _MAX - 12:
        _out[_used : _used + n] = data
        _used += n
    else:
        flush()
        _wr.write(data)


def call(op, arg=0, value=0, data=b""):
    """Returns the answer's value; the answer's data stay to be taken with
    `answer_into`/`answer`.
    """
    charge(_CALL_US)
    return ask(op, arg, value, data)


def ask(op, arg=0, value=0, data=b""):
    """A call that costs the chip nothing: the emulator's own business."""
    global _used, _since_us, _stale, _looked
    post(op, arg, value, data)
    n = _used
    _used = 0
    _wr.write(memoryview(_out)[:n])
    while True:
        if _rd.readinto(_head) != 32:
            raise OSError(32)  # the host has gone without switching us off
        if _head[5] != 0xFF:
            break
        _special()
    _since_us = 0
    _stale = _looked = False
    return struct.unpack_from("<i", _head)[0]


_names = {}  # of the prompt


class Unwind(BaseException):
    """The host wants to know who made this call: the traceback at the top says it."""


def _special():
    """A length of FFxx is no length: FFFF unwinds; FFFE is source for the prompt, `value` bytes."""
    if _head[4] == 0xFF:
        raise Unwind
    source = str(_rd.read(struct.unpack_from("<i", _head)[0]), "utf-8")
    try:
        try:
            text = repr(eval(source, _names))  # noqa: S307
        except SyntaxError:
            exec(source, _names)  # noqa: S102
            text = ""
    except BaseException as error:  # noqa: BLE001
        text = "%s: %s" % (type(error).__name__, error)
    text = text.encode()[:4000]
    _wr.write(struct.pack(_HEADER, OP_PROMPT, 0, len(text), 0, 0) + text)


def answer():
    """The data of the last answer. Must be taken when there are any."""
    n = _head[4] | _head[5] << 8
    return _rd.read(n) if n else b""


def answer_into(buf):
    n = _head[4] | _head[5] << 8
    if n:
        _rd.readinto(memoryview(buf)[:n])
    return n
