"""The rest of `machine.I2C`: reads, registers of a part, and the search for parts."""

import link
import machine

_MOST = 512  # bytes that come at a time


def _ask(self, addr, n):
    return link.call(
        link.OP_I2C_READ, self._n, addr << 24 | self._freq // 1000, n.to_bytes(2, "little")
    )


def readfrom_into(self, addr, buf, stop=True):
    view = memoryview(buf)
    for at in range(0, len(view) or 1, _MOST):
        part = view[at : at + _MOST]
        taken = _ask(self, addr, len(part))
        link.answer_into(part)
        if not taken:
            raise OSError(self._NOBODY)


def readfrom(self, addr, n, stop=True):
    buf = bytearray(n)
    readfrom_into(self, addr, buf)
    return bytes(buf)


def _register(memaddr, addrsize):
    if addrsize & 7 or not 8 <= addrsize <= 32:
        raise ValueError("invalid addrsize")
    return memaddr.to_bytes(addrsize // 8, "big")


def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
    self.writeto(addr, _register(memaddr, addrsize), False)
    readfrom_into(self, addr, buf)


def readfrom_mem(self, addr, memaddr, n, *, addrsize=8):
    buf = bytearray(n)
    readfrom_mem_into(self, addr, memaddr, buf, addrsize=addrsize)
    return bytes(buf)


def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
    self.writeto(addr, _register(memaddr, addrsize) + bytes(buf))


def scan(self):
    found = []
    for addr in range(0x08, 0x78):
        if link.call(link.OP_I2C_WRITE, self._n, addr << 24 | self._freq // 1000):
            found.append(addr)
    return found


def _unsupported(*_, **__):
    raise OSError("I2C operation not supported")


for _name, _function in (
    ("readfrom_into", readfrom_into),
    ("readfrom", readfrom),
    ("readfrom_mem_into", readfrom_mem_into),
    ("readfrom_mem", readfrom_mem),
    ("writeto_mem", writeto_mem),
    ("scan", scan),
    ("init", _unsupported),
    ("start", _unsupported),
    ("stop", _unsupported),
    ("readinto", _unsupported),
    ("write", _unsupported),
):
    setattr(machine.I2C, _name, _function)
