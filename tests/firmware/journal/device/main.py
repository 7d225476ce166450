"""The journal on a flash in RAM, driven from the host: one JSON request a line on standard input,
one JSON answer a line on standard output."""

import json
import sys
from binascii import hexlify, unhexlify

from lib.journal import DamagedError, Journal


class PowerCut(Exception):
    pass


class Flash:
    """Cuts the power at operation `cut_at`: `mask` bytes say which of the bits are done."""

    def __init__(self, sectors, sector, unit):
        self.SECTORS = sectors
        self.SECTOR = sector
        self.UNIT = unit
        self.memory = bytearray(b"\xff" * (sectors * sector))
        self.operations = 0
        self.cut_at = -1
        self.mask = b""
        self.bad = set()
        self.erases = [0] * sectors

    def read(self, address, buf):
        buf[:] = self.memory[address : address + len(buf)]

    def program(self, address, buf):
        if address % self.UNIT or len(buf) % self.UNIT:
            raise ValueError("unaligned")
        old = bytes(self.memory[address : address + len(buf)])
        self._change(address, old, bytes(a & b for a, b in zip(old, buf)))  # noqa: B905

    def erase(self, sector):
        self.erases[sector] += 1
        address = sector * self.SECTOR
        old = bytes(self.memory[address : address + self.SECTOR])
        self._change(address, old, b"\xff" * self.SECTOR)

    def _change(self, address, old, new):
        cut = self.operations == self.cut_at
        self.operations += 1
        if address // self.SECTOR in self.bad:
            raise OSError(5)
        if cut:
            m = self.mask
            new = bytes(o ^ ((o ^ n) & m[i % len(m)]) for i, (o, n) in enumerate(zip(old, new)))  # noqa: B905
        self.memory[address : address + len(new)] = new
        if cut:
            raise PowerCut


flash = journal = None


def new(sectors, sector, unit):
    global flash  # noqa: PLW0603
    flash = Flash(sectors, sector, unit)


def start(payload):
    """What is loaded."""
    global journal  # noqa: PLW0603
    flash.cut_at = -1
    journal = Journal(flash, payload)
    try:
        state = journal.load()
    except DamagedError:
        return "damaged"
    return [None if state is None else hexlify(state).decode(), journal.skipped]


def append(state, cut_in, mask):
    flash.cut_at = flash.operations + cut_in if cut_in >= 0 else -1
    flash.mask = unhexlify(mask)
    try:
        journal.append(unhexlify(state))
    except PowerCut:
        return "cut"
    except OSError:
        return "failed"
    return "done"


def flip(bit):
    """In the newest record."""
    at = journal._sector * flash.SECTOR + (journal._next - 1) * 256
    flash.memory[at + (bit >> 3)] ^= 1 << (bit & 7)


def spoil():
    """Two bits of every record."""
    for at in range(0, len(flash.memory), 256):
        flash.memory[at + 14] ^= 0x81


def wear(sectors):
    flash.bad = set(sectors)


def erases():
    return flash.erases


while True:
    line = sys.stdin.readline()
    if not line:
        break
    name, arguments = json.loads(line)
    sys.stdout.write(json.dumps(globals()[name](*arguments)) + "\n")
