"""The rest of `machine.SPI`: what comes back."""

import link
import machine

_MOST = 512  # bytes that go at a time


def readinto(self, buf, write=0):
    write_readinto(self, bytes([write]) * len(buf), buf)


def read(self, n, write=0):
    buf = bytearray(n)
    readinto(self, buf, write)
    return bytes(buf)


def write_readinto(self, out, into):
    if len(out) != len(into):
        raise ValueError("buffers must be the same length")
    out, into = memoryview(out), memoryview(into)
    for at in range(0, len(out), _MOST):
        part = out[at : at + _MOST]
        link.charge(len(part) * 8000000 // self._baud)
        link.call(link.OP_SPI_READ, self._n, self._baud, part)
        link.answer_into(into[at : at + _MOST])


def init(self, *, baudrate=None, polarity=None, phase=None, bits=None, firstbit=None):
    if firstbit not in (None, self.MSB):
        raise NotImplementedError("not emulated: SPI.LSB (docs/guides/emulator.md)")
    if baudrate is not None:
        self._baud = machine.spi_clock(baudrate)
    how = zip((polarity, phase, bits), self._set[3:])
    self._set = self._set[:3] + tuple(was if value is None else value for value, was in how)


for _kind in (machine.SPI,):
    _kind.readinto = readinto
    _kind.read = read
    _kind.write_readinto = write_readinto
    _kind.init = init
