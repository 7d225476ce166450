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

TURNS = 32


def nothing():
    pass


def digest(algorithm, data):
    algorithm(data).digest()


def per_turn(action, *args):
    gc.collect()
    began = ticks_us()
    for _ in range(TURNS):
        action(*args)
    return ticks_diff(ticks_us(), began) / TURNS


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
"""

# Of the firmware, in an order in which each finds what it imports.
MODULES = (
    "wire", "tlv", "apdu", "t1", "cmac", "hmac", "hotp", "journal", "ssd1306", "scp03", "records",
    "cbor", "sha512",
)  # fmt: skip
