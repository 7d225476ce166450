"""`machine.disable_irq`, and what measures pulses."""

import time

import link


def disable_irq():
    before = time.masked is None
    if before:
        time.masked = b""
    return before


def enable_irq(state=True):
    if state and time.masked is not None:
        fired, time.masked = time.masked, None
        time._run(fired)


def time_pulse_us(pin, level, timeout_us=1000000):
    """-2: the pulse did not begin in time, -1: it did not end in time."""
    for wanted, failed in ((level, -2), (1 ^ level, -1)):
        began = link.now_us()
        while pin.value() != wanted:
            if link.now_us() - began > timeout_us:
                return failed
            link.catch_up()
        if wanted == level:
            start = link.now_us()
    return link.now_us() - start
