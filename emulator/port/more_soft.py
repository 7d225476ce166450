"""`machine.SoftI2C` and `SoftSPI`: buses on whichever pins they are given."""

import machine

_FIRST = 8  # their numbers follow those of the chip's own buses
_LAST = 15
_used = [_FIRST, _FIRST]


def _number(kind):
    number = _used[kind]
    if number < _LAST:
        _used[kind] = number + 1
    return number


def _by_hand(*_):
    raise NotImplementedError("not emulated: SoftI2C by start and stop (docs/guides/emulator.md)")


class SoftI2C(machine.I2C):
    _NOBODY = 19  # ENODEV
    start = stop = readinto = write = _by_hand

    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        self._n = _number(0)
        self.init(scl, sda, freq=freq, timeout=timeout)

    def init(self, scl, sda, *, freq=400000, timeout=50000):
        self._freq = freq
        self._set = (scl, sda, timeout)
        machine._bus(2, self._n, (scl, sda))


class SoftSPI(machine.SPI):
    def __init__(
        self, baudrate=500000, *, polarity=0, phase=0, bits=8, firstbit=None, sck=None, mosi=None,
        miso=None,
    ):  # fmt: skip
        if bits != 8:
            raise ValueError("bits must be 8")
        if sck is None or mosi is None or miso is None:
            raise ValueError("must specify all of sck/mosi/miso")
        if firstbit not in (None, self.MSB):
            raise NotImplementedError("not emulated: SPI.LSB (docs/guides/emulator.md)")
        self._n = _number(1)
        self._baud = baudrate
        self._set = (sck, mosi, miso, polarity, phase, bits)
        machine._bus(1, self._n, (sck, mosi, miso))
