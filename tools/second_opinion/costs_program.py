"""What runs in place of the card's firmware to measure: `main.py`, and the modules that it imports.

It says `name µs` on the serial line, a line for each figure, and `end`. Durations are taken with
the board's own clock over many turns, less what the turns themselves take.
"""

from __future__ import annotations

MAIN = """
import machine
line = machine.UART({uart}, 115200)
line.write(b"main\\n")
import costs
costs.run(line, {modules})
while True:
    machine.lightsleep(1000)
"""

COSTS = """
import gc
from time import sleep_ms, ticks_diff, ticks_us

from cryptolib import aes
from hashlib import sha1, sha256
from machine import Pin
from sys import modules as modules_there

TURNS = 32
LONG_TURNS = 2


def nothing():
    pass


def digest(algorithm, data):
    algorithm(data).digest()


def per_turn(action, *args, turns=TURNS):
    gc.collect()
    began = ticks_us()
    for _ in range(turns):
        action(*args)
    return ticks_diff(ticks_us(), began) / turns


def run(line, modules):
    def say(name, us):
        line.write(("%s %.1f\\n" % (name, us)).encode())
        sleep_ms(1)

    turn = per_turn(nothing)
    say("call", turn)
    for name, algorithm in (("sha1", sha1), ("sha256", sha256)):
        one = per_turn(digest, algorithm, bytes(64))
        say(name + "_block", (per_turn(digest, algorithm, bytes(576)) - one) / 8)
        say(name + "_one", one - turn)
    say("aes_key", per_turn(aes, bytes(32), 1) - turn)
    cipher = aes(bytes(32), 1)
    one = per_turn(cipher.encrypt, bytes(16))
    say("aes_block", (per_turn(cipher.encrypt, bytes(144)) - one) / 8)
    say("pin", per_turn(Pin(PIN, Pin.IN).value))
    say("clock", per_turn(ticks_us))
    say_long(say, turn)
    for name in list(modules_there):
        if name.partition(".")[0] == "lib":
            del modules_there[name]
    gc.collect()
    began = ticks_us()
    gc.collect()
    say("collect", ticks_diff(ticks_us(), began))
    imports = 0
    for name in modules:
        gc.collect()
        began = ticks_us()
        __import__(name)
        imports += ticks_diff(ticks_us(), began)
    say("imports", imports)
    line.write(b"end\\n")


def say_long(say, turn):
    # Functions that work for long without a call of the port.
    from lib import ed25519, p256, sha512

    base = (ed25519.BX, ed25519.BY, 1, ed25519.BX * ed25519.BY % ed25519.P)
    twice = ed25519.double(base)
    key = p256.N // 3
    peer = p256.public_key(5, randoms)
    for name, action, args in (
        ("ed25519.add", ed25519.add, (twice, base)),
        ("ed25519.double", ed25519.double, (twice,)),
        ("sha512.sha512", sha512.sha512, (bytes(128),)),
        ("p256.public_key", p256.public_key, (key, randoms, nothing)),
        ("p256.sign", p256.sign, (key, bytes(32), randoms, nothing)),
        ("p256.shared_x", p256.shared_x, (key, peer, randoms, nothing)),
        ("pow", pow, (ed25519.BX, p256.P - 2, p256.P)),
    ):
        say(name, per_turn(action, *args, turns=LONG_TURNS) - turn)


def randoms(n):
    return bytes(range(1, n + 1))
"""

# Of the firmware, in an order in which each finds what it imports.
MODULES = (
    "wire", "tlv", "apdu", "t1", "cmac", "hmac", "hotp", "journal", "ssd1306", "scp03", "records",
    "cbor", "sha512",
)  # fmt: skip

# Measured, and not among the imports above.
LONG_MODULES = ("ed25519", "p256", "p256_table")
