"""The rest of `machine.Pin`."""

import link
import machine

Pin = machine.Pin


def init(self, mode=-1, pull=-1, value=None, alt=-1):
    self._set_up(mode, pull, value, alt)


def toggle(self):
    self.value(1 ^ machine._driven.get(self._n, 0) & 1)


def mode(self, value=None):
    driven = machine._driven.get(self._n, machine._LATCH)
    if value is None:
        return Pin.IN if driven & machine._LATCH else Pin.OPEN_DRAIN if driven else Pin.OUT
    self._set_up(value, -1, None, -1)


def pull(self, value=None):
    if value is None:
        return _pulls.get(self._n)
    _pulls[self._n] = value
    link.set_pin(self._n, 7 | (value & 3) << 4)


_pulls = {}

Pin.init = init
Pin.high = Pin.on
Pin.low = Pin.off
if machine.closed_write:  # an RP2
    Pin.toggle = toggle
else:
    Pin.mode = mode
    Pin.pull = pull
    Pin.name = lambda self: "%s%d" % (chr(65 + (self._n >> 4)), self._n & 15)
    Pin.port = lambda self: self._n >> 4
    Pin.pin = lambda self: self._n & 15
