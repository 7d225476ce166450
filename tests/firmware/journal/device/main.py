"""The journal on a flash in RAM, driven from the host: one JSON request a line on standard input,
one JSON answer a line on standard output."""

import json
import sys
from binascii import hexlify, unhexlify

from cut_flash import Flash, PowerCut

from lib import handover
from lib.journal import DamagedError, Journal

flash = journal = None


def new(sectors, sector, unit):
    global flash  # noqa: PLW0603
    flash = Flash(sectors, sector, unit)


def start(payload, older=()):
    """What is loaded, as after a cold start."""
    global journal  # noqa: PLW0603
    flash.cut_at = -1
    journal = Journal(flash, payload, tuple(older))
    try:
        handover.find(journal)
        state = journal.load()
    except DamagedError:
        return "damaged"
    return [None if state is None else hexlify(state).decode(), journal.skipped]


def append(state, cut_in, mask):
    return _cut(journal.append, state, cut_in, mask)


def settle(state, cut_in, mask):
    return _cut(lambda state: handover.settle(journal, state), state, cut_in, mask)


def _cut(write, state, cut_in, mask):
    flash.cut_at = flash.operations + cut_in if cut_in >= 0 else -1
    flash.mask = unhexlify(mask)
    try:
        write(unhexlify(state))
    except PowerCut:
        return "cut"
    except OSError:
        return "failed"
    return "done"


def write_as(payload):
    """From now on states of this size are written."""
    journal.payload = payload


def number_from(sequence):
    """The next record gets the number after this."""
    journal.sequence = sequence


def append_as_before(state):
    """As an older firmware did, which left no number out."""
    return journal.written_as(journal.sequence + 1, unhexlify(state), journal._next_slot())


def fill_sector():
    """The next record begins another sector."""
    journal.next = flash.SECTOR // 256


def flip(bit):
    """In the newest record."""
    at = journal.sector * flash.SECTOR + (journal.next - 1) * 256
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
