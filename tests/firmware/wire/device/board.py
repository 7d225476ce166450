"""A board whose line, button, dock and clock are lines of text to and from the test.

Out: `wait MS HEX`, each time the firmware waits, HEX being what it has sent since.
In: `step MS FLAGS HEX` (milliseconds that passed; 1 docked, 2 button; bytes received), which ends
the wait, or `eval EXPRESSION`, answered by `value JSON`.
"""

import json
import sys
from hashlib import sha256

from lib import hmac

NAME = "pipes"

names = {}  # what `eval` may use


class _State:
    now = 0
    flags = 0
    received = b""
    sent = b""
    seed = b"\0"
    fixed = b""  # what random() gives, when a vector asks for it


class _Uart:
    def any(self):
        return len(_State.received)

    def readinto(self, buffer, size):
        take = min(size, len(_State.received))
        buffer[:take] = _State.received[:take]
        _State.received = _State.received[take:]
        return take

    def write(self, data):
        _State.sent += bytes(data)
        return len(data)


def serial():
    return _Uart()


def docked():
    return bool(_State.flags & 1)


def button():
    return bool(_State.flags & 2)


def ticks_ms():
    return _State.now


def random(n):
    if _State.fixed:
        return _State.fixed
    _State.seed = hmac.digest(sha256, b"board", _State.seed)
    return _State.seed[:n]


def fix_random(value):
    _State.fixed = bytes.fromhex(value)


def wait(ms):
    sent = _State.sent
    _State.sent = b""
    sys.stdout.write(f"wait {ms} {sent.hex()}\n")
    while True:
        line = sys.stdin.readline()
        if not line:
            sys.exit()
        kind, _, rest = line.strip().partition(" ")
        if kind == "eval":
            value = eval(rest, names)
            sys.stdout.write(f"value {json.dumps(value)}\n")
            continue
        ms, flags, received = rest.split(" ")
        _State.now += int(ms)
        _State.flags = int(flags)
        _State.received += bytes.fromhex(received[1:])
        return
