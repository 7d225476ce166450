"""`time` of the board: the host's virtual clock."""

import link
from micropython import const

_PERIOD = 0x3FFFFFFF

# Set by boot.py: what `time` says at power-on, from which year on it counts, and whether the chip's
# tick stands still in light sleep.
epoch_s = 0
epoch_year = 1970
stops_in_light_sleep = 0
_stood_still_us = 0


def ticks_ms():
    return (link.now_us() - _stood_still_us) // 1000 & _PERIOD


def ticks_us():
    return (link.now_us() - _stood_still_us) & _PERIOD


def ticks_cpu():
    return ticks_us()


def ticks_add(ticks, delta):
    if not -0x20000000 < delta < 0x20000000:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _PERIOD


def ticks_diff(end, start):
    return ((end - start + 0x20000000) & _PERIOD) - 0x20000000


def sleep_us(us):
    if us > 0:
        wait(us, 0)


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep(seconds):
    sleep_us(int(1000000.0 * seconds))


def time():
    return link.now_us() // 1000000 + epoch_s


def time_ns():
    return (link.now_us() + epoch_s * 1000000) * 1000


# What ends a wait (the `arg` of OP_WAIT).
WAKE_PIN = 1
WAKE_UART = 2
WAKE_USB = 4
WAKE_TIMER = 8
SLEEP_LIGHT = 0x10
_HANDLERS = const(0x20)  # an interrupt's handler runs, and the wait goes on
_USB = const(0xFE)

_handlers = {}
had = bytearray(256)  # which of them have been called
masked = None  # what fired since `disable_irq`


def wait(us, wake):
    """Waits in virtual time; runs the handlers of what fires meanwhile. True when woken."""
    while us > 0x7FFFFFFF:
        if wait(0x7FFFFFFF, wake):
            return True
        us -= 0x7FFFFFFF
    global _stood_still_us
    before = link.now_us()
    link.charge(link._CALL_US)
    if _handlers:
        wake |= _HANDLERS
    end = link.now_us_unasked() + us
    while True:
        woken = link.ask(link.OP_WAIT, wake, us)
        _run(link.answer())
        us = end - link.now_us_unasked()
        if woken != 2 or us <= 0:
            break
    if wake & SLEEP_LIGHT and stops_in_light_sleep:
        _stood_still_us += link.now_us() - before
    return woken == 1


def _hear():
    link.ask(link.OP_HEAR)
    _run(link.answer())


link.hear = _hear


def _run(fired):
    global masked
    if masked is not None:
        masked += fired
        return
    for one in fired:
        handler = _handlers.get(one)
        if not handler:
            continue
        had[one] = 1
        if one == _USB:
            handler[0](handler[1])
            continue
        try:
            handler[0](handler[1])
        except Exception as error:
            # As the board: it is said, and not called again.
            import sys

            _handlers[one] = None
            print("Uncaught exception in IRQ callback handler")
            sys.print_exception(error)


def __getattr__(name):
    return link.late("time", name)
