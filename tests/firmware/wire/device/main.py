"""Serves the card's line on the test's board for ever. `log`: digests of all commands executed."""

import gc
from hashlib import sha256

import board
import store as memory

from card import applets, link
from lib import apdu as apdus
from lib import tlv

log = []
state = {"echo": False, "cell": (2900, 0), "presses": 0, "waits": 0, "asked": "", "peak": 0}
real = applets.Applets


class Recorder(real):
    def __init__(self, store, terminal):
        real.__init__(self, store, terminal)
        board.names["line"] = terminal

    def process(self, apdu):
        log.append(sha256(apdu).digest()[:8].hex())
        if state["echo"]:
            if not apdu:
                return b"\x67\x00"
            return bytes(reversed(bytes(apdu)))
        answer = real.process(self, apdu)
        state["peak"] = max(state["peak"], gc.mem_alloc())
        return answer


def reset(echo=False, **fields):
    """A card as from the factory, but for these fields (byte strings in hexadecimal)."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = bytes.fromhex(value)
    board.names["store"].__init__(**fields)
    log.clear()
    state.update({"echo": echo, "cell": (2900, 0), "presses": 0, "waits": 0, "asked": ""})
    board.fix_random("")


def inspect():
    """What the store holds, byte strings in hexadecimal."""
    fields = {}
    for name, value in board.names["store"].__dict__.items():
        fields[name] = value.hex() if isinstance(value, bytes) else value
    return fields


def parse_apdu(data):
    """What the parser makes of a command, or its status word."""
    command = apdus.Command()
    try:
        command.parse(memoryview(bytes.fromhex(data)))
    except apdus.Refused as refused:
        return refused.sw
    header = bytes((command.cla, command.ins, command.p1, command.p2))
    return [header.hex(), bytes(command.data).hex(), command.le, command.limit, command.head]


def parse_tlv(data, bare=-1):
    """Tags and values, or None."""
    try:
        return [[t, bytes(v).hex()] for t, v in tlv.items(memoryview(bytes.fromhex(data)), bare)]
    except ValueError:
        return None


def write_tlv(tag, value):
    return tlv.item(tag, bytes.fromhex(value)).hex()


def on_press():
    state["presses"] += 1


def on_wait(what):
    if what:
        state["waits"] += 1
        state["asked"] = what


link.Applets = Recorder
store = memory.Store()
board.names.update({"store": store, "log": log, "state": state, "reset": reset, "inspect": inspect})
board.names.update({"fix_random": board.fix_random, "gc": gc})
board.names.update({"parse_apdu": parse_apdu, "parse_tlv": parse_tlv, "write_tlv": write_tlv})

while True:
    while not board.docked():
        board.wait(1000)
    link.serve(board, store, on_press, lambda: state["cell"], on_wait)
    gc.collect()
