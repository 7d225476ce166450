"""`machine.disable_irq`, and what measures pulses."""

import time

import link
import machine


def disable_irq():
    """An RP2 says whether they were off (PRIMASK), as a number; an STM32 whether they were on."""
    before = time.masked is None
    if before:
        time.masked = b""
    return int(not before) if machine.closed_write else before


def _enable(on):
    if on and time.masked is not None:
        fired, time.masked = time.masked, None
        time._run(fired)
    elif not on and time.masked is None:
        time.masked = b""


def _enable_by_mask(state):
    _enable(not state)


def _enable_by_state(state=True):
    _enable(bool(state))


enable_irq = _enable_by_mask if machine.closed_write else _enable_by_state


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
