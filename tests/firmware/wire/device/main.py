"""Serves the card's line on the test's board for ever. `log` holds every command executed."""

import gc

import board
import store as memory

from card import applets, link

log = []
state = {"echo": False, "cell": (2900, 0, 3000), "presses": 0, "waits": 0, "peak": 0}
real = applets.Applets


class Recorder(real):
    def process(self, apdu):
        log.append(bytes(apdu).hex())
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
    state.update({"echo": echo, "cell": (2900, 0, 3000), "presses": 0, "waits": 0})
    board.fix_random("")


def inspect():
    """What the store holds, byte strings in hexadecimal."""
    fields = {}
    for name, value in board.names["store"].__dict__.items():
        fields[name] = value.hex() if isinstance(value, bytes) else value
    return fields


def on_press():
    state["presses"] += 1


def on_wait(waiting):
    state["waits"] += waiting


link.Applets = Recorder
store = memory.Store()
board.names.update({"store": store, "log": log, "state": state, "reset": reset, "inspect": inspect})
board.names.update({"fix_random": board.fix_random, "gc": gc})

while True:
    while not board.docked():
        board.wait(1000)
    link.serve(board, store, on_press, lambda: state["cell"], on_wait)
    gc.collect()
