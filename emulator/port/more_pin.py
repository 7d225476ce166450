"""The rest of `machine.Pin`."""

import machine

Pin = machine.Pin


def init(self, mode=-1, pull=-1, *fourth, value=None, alt=-1):
    if fourth:
        alt = machine.fourth_of_pin(*fourth)
    self._set_up(mode, pull, value, alt)


def toggle(self):
    self.value(1 ^ machine._driven.get(self._n, 0) & 1)


def _is(self, which):
    return machine.setting(self._n, which)


Pin.init = init
Pin.high = Pin.on
Pin.low = Pin.off
if machine.closed_write:  # an RP2
    Pin.toggle = toggle
else:
    Pin.mode = lambda self: _is(self, 0)
    Pin.pull = lambda self: _is(self, 1)
    Pin.af = lambda self: _is(self, 2)
    Pin.name = lambda self: machine.name_of(self._n)
    Pin.port = lambda self: self._n >> 4
    Pin.pin = lambda self: self._n & 15
