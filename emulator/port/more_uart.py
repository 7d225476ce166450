"""The rest of `machine.UART`: lines, patience, interrupts."""

import time

import link
import machine

UART = machine.UART
_OTHERS = ("bits", "parity", "stop", "flow")
_LACKS = ("flow", "invert", "cts", "rts")
if machine.closed_write:  # an RP2
    _OTHERS += ("tx", "rx", "txbuf", "invert", "cts", "rts")
else:
    _OTHERS += ("read_buf_len",)
_EVENT = 0xF0  # among what fires: this, and the number of the UART


def _wait(self, ms):
    """Until a byte is there, for so long. False when none came."""
    end = time.ticks_add(time.ticks_ms(), ms)
    while not self.any():
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            return False
        time.wait(left * 1000, time.WAKE_UART)
    return True


def _gather(self, n, line):
    """Up to n bytes (None: all that come), or to the end of a line."""
    timeout, between = getattr(self, "_timeouts", (0, 0))
    got = b""
    while n is None or len(got) < n:
        if not _wait(self, timeout if not got else max(between, 1) if timeout else between):
            break
        link.call(link.OP_UART_READ, self._n, 1 if line else min(n - len(got) if n else 512, 512))
        got += link.answer()
        if line and got[-1:] == b"\n":
            break
    return got or None


def readline(self):
    return _gather(self, None, True)


def _be_patient(self, timeout, timeout_char):
    self._timeouts = (timeout, timeout_char)
    self.read = lambda n=None: _gather(self, n, False)

    def readinto(buf, n=None):
        got = _gather(self, len(buf) if n is None else min(n, len(buf)), False)
        if got:
            buf[: len(got)] = got
        return len(got) if got else None

    self.readinto = readinto


class _Irq:
    def __init__(self, uart, handler, trigger):
        self.uart = uart
        self.handler = handler
        self._trigger = trigger

    def __repr__(self):
        return "<irq>"

    def flags(self):
        """What it was called at last."""
        return self._trigger if time.had[_EVENT + self.uart._n] else 0

    def trigger(self, value=None):
        if value is not None:
            self._trigger = value
        return self._trigger

    def __call__(self):
        if self.handler:
            self.handler(self.uart)


def irq(self, handler=link, trigger=0, hard=False):
    """handler: `link` where none was given."""
    if handler is link:
        if not trigger:
            return getattr(self, "_interrupt", None) or _Irq(self, None, 0)
        handler = None
    if trigger & ~self._triggers:
        raise ValueError("trigger 0x%04x unsupported" % trigger)
    time.had[_EVENT + self._n] = 0
    time._handlers[_EVENT + self._n] = (handler, self) if handler else None
    # 1 as soon as a byte is there, 2 when the line has been idle for the time of three.
    asked = 1 if trigger & self._each else 2 if trigger & self._idle else 0
    link.post(link.OP_UART_IRQ, self._n, asked if handler else 0)
    self._interrupt = _Irq(self, handler, trigger)
    return self._interrupt


def _take_more(self, kw):
    """What else it is set up with."""
    for name, value in kw.items():
        if name not in _OTHERS:
            raise TypeError("extra keyword arguments given")
        if value and name in _LACKS:
            raise NotImplementedError("not emulated: UART's %s (docs/guides/emulator.md)" % name)
    frame = zip(("bits", "parity", "stop"), self._set[2:5])
    self._set = self._set[:2] + tuple(kw.get(name, was) for name, was in frame)


def txdone(self):
    return True  # what was written has been charged the time of the wire


def flush(self):
    link.catch_up()


def sendbreak(self):
    link.charge(13 * 1000000 // (self._baud or 1))


UART._take_more = _take_more
UART.readline = readline
UART._be_patient = _be_patient
UART.irq = irq
UART.txdone = txdone
UART.flush = flush
UART.sendbreak = sendbreak
