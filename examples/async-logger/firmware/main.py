"""A logger on a Pico: a task measures, one blinks, one sends what was measured over a serial line.

The last measurement is kept in an EEPROM, and is there after a power cut.
"""

import asyncio

from machine import I2C, UART, Pin

_THERMOMETER, _EEPROM = 0x48, 0x50
_PERIOD_MS = 2000

bus = I2C(0, scl=Pin(5), sda=Pin(4), freq=100_000)
line = UART(1, 115200, tx=Pin(8), rx=Pin(9))
lamp = Pin("LED", Pin.OUT, value=0)
fresh = asyncio.Event()
last = None


def celsius():
    """Sixteenths of a degree, made degrees."""
    raw = int.from_bytes(bus.readfrom_mem(_THERMOMETER, 0, 2), "big") >> 4
    return (raw - 4096 if raw & 2048 else raw) / 16


async def keep(text):
    content = text.encode()
    bus.writeto(_EEPROM, b"\x00\x00" + bytes((len(content),)) + content)
    while True:  # it answers to nothing until it has written
        try:
            bus.writeto(_EEPROM, b"\x00\x00")
            return
        except OSError:
            await asyncio.sleep_ms(1)


def kept():
    bus.writeto(_EEPROM, b"\x00\x00")
    size = bus.readfrom(_EEPROM, 1)[0]
    return "" if size == 255 else bus.readfrom(_EEPROM, size).decode()


async def measure():
    global last
    while True:
        last = "%.1f" % celsius()
        fresh.set()
        await asyncio.sleep_ms(_PERIOD_MS)


async def blink():
    while True:
        lamp.value(not lamp.value())
        await asyncio.sleep_ms(500)


async def report():
    while True:
        await fresh.wait()
        fresh.clear()
        line.write("t=%s\r\n" % last)
        await keep(last)


async def main():
    line.write("before=%s\r\n" % kept())
    await asyncio.gather(measure(), blink(), report())


asyncio.run(main())
