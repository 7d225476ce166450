"""`time` of the board: the host's virtual clock."""

import link

_PERIOD = 0x3FFFFFFF

# Set by boot.py: whether the chip's tick stands still in light sleep.
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
    sleep_us(int(seconds * 1000000))


def time():
    return link.now_us() // 1000000


def time_ns():
    return link.now_us() * 1000


# What ends a wait (the `arg` of OP_WAIT).
WAKE_PIN = 1
WAKE_UART = 2
WAKE_USB = 4
SLEEP_LIGHT = 0x10

_handlers = {}


def wait(us, wake):
    """Waits in virtual time; runs the handlers of the pins that fired meanwhile. True when
    woken.
    """
    while us > 0x7FFFFFFF:
        if wait(0x7FFFFFFF, wake):
            return True
        us -= 0x7FFFFFFF
    global _stood_still_us
    before = link.now_us()
    woken = link.call(link.OP_WAIT, wake, us)
    if wake & SLEEP_LIGHT and stops_in_light_sleep:
        _stood_still_us += link.now_us() - before
    for pin in link.answer():
        handler = _handlers.get(pin)
        if handler:
            handler[0](handler[1])
    return woken
