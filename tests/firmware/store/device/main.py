"""The store on a flash in RAM, driven from the host: one JSON request a line on standard input, one
JSON answer a line on standard output."""

import json
import sys
from binascii import hexlify, unhexlify

from cut_flash import Flash, PowerCut

from card.store import Store
from lib.journal import DamagedError

_BYTES = ("keys", "seed", "name")
_FIELDS = ("life_cycle", "kvn", "moving_factor", "presses", "digits")


class _Identity:
    serial = b"TS00000001"
    transport = bytes(48)


flash = store = None


def new(sectors, sector, unit):
    global flash  # noqa: PLW0603
    flash = Flash(sectors, sector, unit)


def start(cold):
    global store  # noqa: PLW0603
    flash.cut_at = -1
    try:
        store = Store(flash, _Identity, cold)
    except DamagedError:
        return "damaged"
    return seen()


def seen():
    state = {name: getattr(store, name) for name in _FIELDS}
    state.update({name: hexlify(getattr(store, name)).decode() for name in _BYTES})
    return state


def _cut(cut_in, mask):
    flash.cut_at = flash.operations + cut_in if cut_in >= 0 else -1
    flash.mask = unhexlify(mask)


def commit(changes, cut_in, mask):
    for name in _BYTES:
        if name in changes:
            changes[name] = unhexlify(changes[name])
    _cut(cut_in, mask)
    try:
        store.commit(**changes)
    except PowerCut:
        return "cut"
    return "done"


def take_code(cut_in, mask):
    _cut(cut_in, mask)
    try:
        return store.take_code()
    except PowerCut:
        return "cut"


def in_flash(text):
    """Whether these bytes are anywhere in flash."""
    return bytes(flash.memory).find(unhexlify(text)) >= 0


while True:
    line = sys.stdin.readline()
    if not line:
        break
    name, arguments = json.loads(line)
    sys.stdout.write(json.dumps(globals()[name](*arguments)) + "\n")
