"""`machine.Timer` and `machine.WDT`."""

import time

import link
import machine

_EVENT = 0xC0  # among what fires: this, and the number of the timer
_MOST = 32
_timers = [None] * _MOST


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, *id, **kw):
        if len(id) > 1:
            raise TypeError("extra positional arguments given")
        if id and id[0] != -1:
            raise ValueError("Timer doesn't exist")
        self._n = -1
        # An RP2's has had nothing yet, an STM32's is what it will be.
        self._once, self._us = (True, 0) if machine.closed_write else (False, 1000000)
        if kw:
            self.init(**kw)

    def __repr__(self):
        mode = "ONE_SHOT" if self._once else "PERIODIC"
        if machine.closed_write:
            return "Timer(mode=%s, tick_hz=1000000, period=%d)" % (mode, self._us)
        return "Timer(mode=%s, period=%d)" % (mode, self._us // 1000)

    def init(self, *, mode=1, callback=None, period=None, tick_hz=1000, freq=None, hard=False):
        self.deinit()
        if freq is not None:
            if not freq and not machine.closed_write:
                raise ValueError("period too large")
            us = int(1000000 / freq)
        elif period is None:  # an STM32's stays
            us = 0xFFFFFFFF * 1000000 // tick_hz if machine.closed_write else self._us
        elif not isinstance(period, int):
            raise TypeError("can't convert %s to int" % type(period).__name__)
        else:
            us = period * 1000000 // tick_hz
        if not machine.closed_write:
            us = max(us // 1000, 1) * 1000  # counts milliseconds
        if None not in _timers:
            raise OSError(12)
        self._n = number = _timers.index(None)
        _timers[number] = self
        self._callback = callback
        self._once = mode == Timer.ONE_SHOT
        time._handlers[_EVENT + number] = (_fired, self)
        self._us = us
        self._post(max(us, 1))

    def _post(self, us):
        link.post(link.OP_TIMER, self._n, 1, us.to_bytes(8, "little") + bytes([not self._once]))

    def deinit(self):
        if self._n >= 0:
            link.post(link.OP_TIMER, self._n)
            _timers[self._n] = time._handlers[_EVENT + self._n] = None
            self._n = -1


def _fired(timer):
    callback = timer._callback
    if timer._once:
        timer.deinit()
    if callback:
        try:
            callback(timer)
        except Exception:
            timer.deinit()
            raise


class WDT:
    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%d) doesn't exist" % id)
        machine.check_watchdog(timeout)
        link.post_slow(link.OP_WDT, 1, timeout, b"")
        link.catch_up()  # it bites a firmware that touches nothing from here on, too

    def __repr__(self):
        return "<WDT>"

    def feed(self):
        link.post(link.OP_WDT)
