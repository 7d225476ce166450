"""The journal on a flash in RAM, driven from the host: one JSON request a line on standard input,
one JSON answer a line on standard output."""

import json
import sys
from binascii import hexlify, unhexlify

from cut_flash import Flash, PowerCut

from lib.journal import DamagedError, Journal

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
