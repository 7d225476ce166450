"""Firmwares as people write them for a board on their desk, which know nothing of Tallystick."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise

import pytest

from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.chip.wires import SpiPart

COUNTER = """
from machine import Pin
import time

up = Pin(16, Pin.IN, Pin.PULL_UP)
down = Pin(17, Pin.IN, Pin.PULL_UP)
count = 0
last = (1, 1)
print("count", count)
while True:
    now = (up.value(), down.value())
    if last[0] and not now[0]:
        count += 1
        print("count", count)
    if last[1] and not now[1]:
        count -= 1
        print("count", count)
    last = now
    time.sleep_ms(20)
"""


class Button:
    """From a pin to ground."""

    def __init__(self, card, pin, name):
        self._card, self._pin, self._name = card, pin, name

    def press(self):
        self._card.mcu.set_input(self._pin, 0, self._name)
        self._card.run_for(100)
        self._card.mcu.set_input(self._pin, None, self._name)
        self._card.run_for(100)


def test_a_counter_with_two_buttons_and_pull_ups(foreign):
    card = foreign(COUNTER)
    card.power_on()
    card.run_for(500)
    assert card.console == "count 0\n"
    up, down = Button(card, 16, "up"), Button(card, 17, "down")
    for button in (up, up, down):
        button.press()
    assert card.console.split("\n")[-4:-1] == ["count 1", "count 2", "count 1"]


INTERRUPTS = """
from machine import Pin
import time

presses = 0

def pressed(pin):
    global presses
    presses += 1

button = Pin(16, Pin.IN, Pin.PULL_UP)
button.irq(handler=pressed, trigger=Pin.IRQ_FALLING)
{loop}
print(presses)
"""
LOOPS = {
    "asleep": "time.sleep(2)",
    "polling": "end = time.ticks_ms() + 2000\nwhile time.ticks_ms() < end:\n    pass",
    "at work": "for _ in range(200):\n    time.sleep_ms(10)",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_every_press_is_heard_of(foreign, loop):
    card = foreign(INTERRUPTS.format(loop=LOOPS[loop]))
    for number in range(3):
        for level in (0, None):
            at = 100_000 * (2 * number + 1 + (level is None))
            card.clock.at(at, lambda level=level: card.mcu.set_input(16, level, "a button"))
    card.power_on()
    card.run_for(3000)
    assert card.console == "3\n"


class Levels(Probe):
    def __init__(self):
        self.seen = []
        self.pulses = []

    def pin(self, now_us, pin, level):
        self.seen.append((now_us, pin, level))

    def pwm(self, now_us, pin, freq_hz, duty):
        self.pulses.append((pin, freq_hz, duty))


# As it stands in the documents of the Pico: main.py ends, and the timer goes on.
BLINKER = """
from machine import Pin, Timer

led = Pin("LED", Pin.OUT)
tim = Timer()

def tick(timer):
    led.toggle()

tim.init(freq=2.5, mode=Timer.PERIODIC, callback=tick)
"""
ASYNCIO = """
import asyncio
from machine import Pin

async def blink(led, period_ms):
    while True:
        led.on()
        await asyncio.sleep_ms(5)
        led.off()
        await asyncio.sleep_ms(period_ms - 5)

async def main():
    asyncio.create_task(blink(Pin(18, Pin.OUT), 700))
    asyncio.create_task(blink(Pin(19, Pin.OUT), 400))
    await asyncio.sleep_ms(10_000)
    print("done")

asyncio.run(main())
"""


def test_a_blinker_with_a_timer(foreign):
    card = foreign(BLINKER)
    levels = Levels()
    card.mcu.probes.append(levels)
    card.power_on()
    card.run_for(10_000)
    changes = [time for time, pin, _ in levels.seen if pin == 25]
    assert 24 <= len(changes) <= 26
    gaps = {round((b - a) / 1000) for a, b in pairwise(changes[1:])}
    assert gaps == {400}


def test_blinkers_with_asyncio(foreign):
    card = foreign(ASYNCIO)
    levels = Levels()
    card.mcu.probes.append(levels)
    card.power_on()
    card.run_for(11_000)
    for pin, period in ((18, 700), (19, 400)):
        ons = [time for time, where, level in levels.seen if where == pin and level]
        assert abs(len(ons) - 10_000 / period) < 2
    assert card.console == "done\n"


# Registers and arithmetic as in the part's data sheet, with the calibration of its example.
SENSOR = """
from machine import I2C, Pin

i2c = I2C(0, scl=Pin(21), sda=Pin(20), freq=100_000)
print(i2c.scan())
assert i2c.readfrom_mem(0x76, 0xD0, 1) == b"\\x60"
t1 = int.from_bytes(i2c.readfrom_mem(0x76, 0x88, 2), "little")
i2c.writeto_mem(0x76, 0xF4, b"\\x25")
raw = i2c.readfrom_mem(0x76, 0xFA, 3)
print(t1, raw[0] << 12 | raw[1] << 4 | raw[2] >> 4)
try:
    i2c.readfrom(0x50, 4)
except OSError as error:
    print("nobody:", error.errno)
"""


class Bme280:
    """Its registers: one is written, or read from where the last write pointed."""

    def __init__(self, address=0x76):
        self._address = address
        self.registers = bytearray(256)
        self.registers[0xD0] = 0x60
        self.registers[0x88:0x8A] = (27504).to_bytes(2, "little")
        self._at = 0

    def i2c_write(self, address, data):
        if address != self._address:
            return False
        if data:
            self._at = data[0]
            if data[1:] == b"\x25" and self._at == 0xF4:
                self.registers[0xFA:0xFD] = (519888 << 4).to_bytes(3, "big")
        return True

    def i2c_read(self, address, count):
        if address != self._address:
            return None
        return bytes(self.registers[self._at : self._at + count])


@pytest.mark.parametrize(("made", "errno"), [("I2C(0, ", 5), ("SoftI2C(", 19)])
def test_a_sensor_on_i2c_is_found_and_read(foreign, made, errno):
    source = SENSOR.replace("I2C(0, ", made).replace("import I2C", "import I2C, SoftI2C")
    card = foreign(source)
    card.mcu.wires.i2c.append(((21, 20), Bme280()))
    card.power_on()
    card.run_for(1000)
    assert card.console.split("\n")[:3] == ["[118]", "27504 519888", f"nobody: {errno}"]


def test_a_sensor_on_other_pins_is_not_found(foreign):
    card = foreign("from machine import I2C, Pin\nprint(I2C(0, scl=Pin(21), sda=Pin(20)).scan())")
    card.mcu.wires.i2c.append(((17, 16), Bme280()))
    card.power_on()
    card.run_for(1000)
    assert card.console == "[]\n"


def test_two_that_answer_at_one_address_are_a_fault(foreign):
    from tallystick.emulator.devices.device import WiringError

    card = foreign(SENSOR)
    card.mcu.wires.i2c += [((21, 20), Bme280()), ((21, 20), Bme280())]
    with pytest.raises(WiringError, match="Bme280 and Bme280"):
        card.power_on()
        card.run_for(1000)


SPI = """
from machine import Pin, {kind}

cs = Pin(17, Pin.OUT, value=1)
spi = {made}
cs(0)
spi.write(b"\\x9f")
print(spi.read(3))
both = bytearray(2)
spi.write_readinto(b"ab", both)
print(both)
cs(1)
"""


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("SPI", "SPI(0, 1_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))"),
        ("SoftSPI", "SoftSPI(sck=Pin(18), mosi=Pin(19), miso=Pin(16))"),
    ],
)
def test_a_part_on_spi_answers(foreign, kind, made):
    seen = bytearray()

    def transfer(data, hz):
        seen.extend(data)
        return bytes(range(len(seen), len(seen) + len(data)))

    card = foreign(SPI.format(kind=kind, made=made))
    card.mcu.wires.spi.append(SpiPart(18, 19, miso=16, transfer=transfer))
    card.power_on()
    card.run_for(100)
    assert card.console == "b'\\x04\\x05\\x06'\nbytearray(b'\\x06\\x07')\n"
    assert bytes(seen) == b"\x9f\0\0\0ab"


BUZZER = """
from machine import PWM, Pin
import time

buzzer = PWM(Pin(2))
for tone in (440, 880):
    buzzer.freq(tone)
    buzzer.duty_u16(32768)
    time.sleep_ms(250)
buzzer.deinit()
print(buzzer.freq())
"""


def test_a_buzzer_is_heard_by_a_probe(foreign):
    card = foreign(BUZZER)
    levels = Levels()
    card.mcu.probes.append(levels)
    card.power_on()
    assert card.mcu.pwm == {2: (880, 32768)}
    card.run_for(300)
    assert levels.pulses[-1] == (2, 0, 0) and (2, 440, 32768) in levels.pulses
    assert card.mcu.pwm == {}


WATCHDOG = """
import machine, time

print("cause", machine.reset_cause() == machine.WDT_RESET)
if machine.reset_cause() != machine.WDT_RESET:
    dog = machine.WDT(timeout=2000)
    for _ in range(3):
        time.sleep(1)
        dog.feed()
    print("no more")
    {stuck}
"""


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
@pytest.mark.parametrize("stuck", ["time.sleep(100)", "while True: time.ticks_ms()"])
def test_a_watchdog_bites(foreign, board, stuck):
    card = foreign(WATCHDOG.format(stuck=stuck), board)
    card.power_on()
    card.run_for(4500)
    assert card.mcu.boots == 1
    card.run_for(3000)
    assert card.mcu.boots == 2
    assert card.console.split("\n")[:3] == ["cause False", "no more", "cause True"]


def test_a_watchdog_bites_where_nothing_is_touched(foreign, monkeypatch):
    from tallystick.emulator.interpreter import link

    monkeypatch.setattr(link, "SILENCE_S", 0.5)
    card = foreign(WATCHDOG.format(stuck="while True: pass"))
    card.power_on()
    card.run_for(8000)
    assert card.mcu.boots == 2


@pytest.mark.parametrize("inside", [False, True])
def test_a_watchdog_bites_when_starting_it_was_the_last_that_was_done(foreign, monkeypatch, inside):
    from tallystick.emulator.interpreter import link, resident

    monkeypatch.setattr(link, "SILENCE_S", 0.2)
    card = foreign(
        "from machine import WDT, reset_cause\nprint(reset_cause())\nWDT(timeout=100)\n"
        "while True:\n    pass"
    )
    with resident.enabled() if inside else nullcontext():
        card.power_on()
        card.run_for(300)
        assert card.console.split("\n")[:3] == ["1", "3", "3"]
        assert card.mcu.boots < 10  # it is not waited for until it stops doing so
        card.power_off()


@pytest.mark.parametrize("before", ["", "f = open('x', 'w')\nf.write('x')\n"])
def test_a_firmware_that_resets_itself_for_ever_is_left_at_it(foreign, before):
    card = foreign(f"{before}import machine\nmachine.reset()")
    card.power_on()
    card.run_for(100)
    assert 5 < card.mcu.boots < 100


LOGGER = """
import os

try:
    with open("log.txt") as file:
        lines = file.readlines()
except OSError:
    lines = []
with open("log.txt", "a") as file:
    file.write("start %d\\n" % len(lines))
print(len(lines), os.listdir())
"""


def test_a_file_is_written_and_outlives_the_power(foreign):
    card = foreign(LOGGER)
    for number in range(3):
        card.power_on()
        card.run_for(2000)
        assert card.console.split("\n")[-2].startswith(f"{number} ")
        card.power_off()


def test_files_that_are_left_open_hurt_nobody(foreign):
    """The board's garbage collector closes them some day; what is in them may be there or not."""
    card = foreign(
        "import gc, os\nfor n in range(30):\n    open('f%d' % n, 'w').write('x' * n)\n"
        "    gc.collect()\nfirst = open('first', 'w')\nfirst.write('kept')\n"
        "with open('closed', 'w') as file:\n    file.write('abc')\n"
        "first.write(' open')\nfirst.close()\n"
        "print(open('first').read(), open('closed').read(), len(open('f9').read()))"
    )
    card.power_on()
    card.run_for(20_000)
    assert card.console == "kept open abc 9\n"


def test_what_this_board_mounts_to_be_read_only_is_not_written(foreign):
    card = foreign(
        "try:\n    open('a', 'w')\nexcept OSError as e:\n    print(e.errno)", "nucleo_l476rg"
    )
    card.power_on()
    card.run_for(100)
    assert card.console == "30\n"


ECHO = """
from machine import UART, Pin

uart = UART(0, 9600, tx=Pin(0), rx=Pin(1))

def heard(line):
    uart.write(line.read().upper())

uart.irq(heard, UART.IRQ_RXIDLE)
"""


def test_an_echo_by_interrupt(foreign):
    card = foreign(ECHO)
    sent = bytearray()
    card.mcu.uart.on_send = sent.extend
    card.power_on()
    card.run_for(100)
    for text in (b"hello", b"again"):
        card.send(text)
        card.run_for(100)
    assert sent == b"HELLOAGAIN"


def test_a_line_is_idle_once_after_its_last_byte(foreign):
    card = foreign(
        "from machine import UART, Pin\nline = UART(0, 9600, tx=Pin(0), rx=Pin(1))\n"
        "line.irq(lambda line: print(line.any()), UART.IRQ_RXIDLE)"
    )
    card.power_on()
    card.run_for(100)
    for byte in b"four":
        card.send(bytes([byte]))
        card.run_for(1)
    card.run_for(100)
    assert card.console == "4\n"
    card.send(b"x")
    card.run_for(100)
    assert card.console == "4\n5\n"


def test_a_line_on_other_pins_does_not_arrive(foreign):
    card = foreign(ECHO.replace("tx=Pin(0), rx=Pin(1)", "tx=Pin(12), rx=Pin(13)"))
    sent = bytearray()
    card.mcu.uart.on_send = sent.extend
    card.power_on()
    card.run_for(100)
    card.send(b"hello")
    card.run_for(100)
    assert sent == b""


LINES = """
from machine import UART
line = UART(0, 9600, timeout=300, timeout_char=20)
print(line.readline())
print(line.readline())
print(line.read(4))
"""


def test_lines_are_read_with_patience(foreign):
    card = foreign(LINES)
    card.power_on()
    card.send(b"one\ntwo\n")
    card.run_for(1000)
    assert card.console == "b'one\\n'\nb'two\\n'\nNone\n"


CALENDAR = """
import machine, time
print(time.localtime()[:5])
machine.RTC().datetime((2028, 2, 29, 0, 23, 59, 58, 0))
time.sleep(3)
print(time.localtime())
print(time.mktime(time.localtime()) == time.time(), machine.RTC().datetime()[:3])
"""


@pytest.mark.parametrize(("board", "first"), [("pico", 2021), ("nucleo_l476rg", 2015)])
def test_the_calendar(foreign, board, first):
    card = foreign(CALENDAR, board)
    card.power_on()
    card.run_for(4000)
    assert card.console.split("\n")[:3] == [
        f"({first}, 1, 1, 0, 0)", "(2028, 3, 1, 0, 0, 1, 2, 61)", "True (2028, 3, 1)",
    ]  # fmt: skip


MASKED = """
import machine, time
from machine import Pin, Signal
heard = []
button = Signal(16, Pin.IN, Pin.PULL_UP, invert=True)
pin = Pin(16)
pin.irq(lambda p: heard.append(1), Pin.IRQ_FALLING)
state = machine.disable_irq()
time.sleep(1)
print(len(heard), button.value())
machine.enable_irq(state)
print(len(heard))
"""


def test_interrupts_that_are_masked_come_later(foreign):
    card = foreign(MASKED)
    card.power_on()
    card.clock.after(200_000, lambda: card.mcu.set_input(16, 0, "a button"))
    card.run_for(2000)
    assert card.console == "0 1\n1\n"


TURNED = """
from machine import Pin
pin = Pin(16, Pin.OUT, value=1)
pin.init(Pin.IN, Pin.PULL_DOWN)
print(pin.value())
"""


def test_an_output_that_becomes_an_input_reads_the_wire(foreign):
    card = foreign(TURNED)
    card.power_on()
    card.run_for(100)
    assert card.console == "0\n"


DISARMED = """
import machine
from machine import Pin
pin = Pin(16, Pin.IN, Pin.PULL_UP)
pin.irq(lambda p: print("heard"), Pin.IRQ_FALLING)
pin.irq(None)
machine.lightsleep(1000)
print("awake")
"""


def test_a_trigger_without_a_handler_wakes_nobody(foreign):
    card = foreign(DISARMED)
    card.power_on()
    card.clock.after(200_000, lambda: card.mcu.set_input(16, 0, "a button"))
    card.run_for(900)
    assert card.console == ""
    card.run_for(200)
    assert card.console == "awake\n"


SLEEPER = """
import machine, time
from machine import Pin
Pin(16, Pin.IN, Pin.PULL_UP).irq(lambda p: None, Pin.IRQ_FALLING)
machine.lightsleep()
print("awake")
"""


def test_light_sleep_without_an_end_is_woken_by_a_pin(foreign):
    card = foreign(SLEEPER)
    card.power_on()
    card.run_for(5000)
    assert card.console == ""
    card.mcu.set_input(16, 0, "a button")
    card.run_for(100)
    assert card.console == "awake\n"


def test_a_buzzer_is_silent_without_power(foreign):
    card = foreign("from machine import PWM, Pin\nPWM(Pin(5), freq=1000, duty_u16=3000)")
    card.power_on()
    card.run_for(10)
    assert card.mcu.pwm == {5: (1000, 3000)}
    card.power_off()
    assert card.mcu.pwm == {}


@pytest.mark.parametrize(
    ("board", "flash"),
    [("pico", 0x10000000), ("pico2_card", 0x10000000), ("nucleo_l476rg", 0x08000000)],
)
def test_memory_is_the_chips_and_no_other(foreign, board, flash):
    """An address that is not emulated was one of this process, which ended without a word."""
    card = foreign(
        "import uctypes\n"
        "LAYOUT = {'a': 0 | uctypes.UINT32}\n"
        f"FLASH = {flash:#x}\n"
        "one = uctypes.struct(FLASH + 0xFF000, LAYOUT)\n"
        "print(len(uctypes.bytearray_at(FLASH, 16)), hex(one.a))\n"
        "mine = bytearray(b'\\x01\\x02\\x03\\x04')\n"
        "one = uctypes.struct(uctypes.addressof(mine), LAYOUT, uctypes.LITTLE_ENDIAN)\n"
        "one.a += 1\n"
        "print(mine, uctypes.bytes_at(uctypes.addressof(mine), 2))\n"
        "for address in (0, -1, 0x20000000, 0x40054000, 0xE000ED00, FLASH - 2):\n"
        "    for look in (uctypes.bytes_at, uctypes.bytearray_at):\n"
        "        try:\n            look(address, 4)\n"
        "        except NotImplementedError as error:\n            print(error)\n"
        "try:\n    uctypes.struct(0x40054000, LAYOUT)\n"
        "except NotImplementedError as error:\n    print(error)\n",
        board,
    )
    card.power_on()
    first, second, *refused = card.console.splitlines()
    assert first == "16 0xffffffff"
    assert second == "bytearray(b'\\x02\\x02\\x03\\x04') b'\\x02\\x02'"
    assert len(refused) == 13
    assert refused[0] == "not emulated: memory at 0x00000000 (docs/guides/emulator.md)"
    assert all(one.startswith("not emulated: memory at 0x") for one in refused)


def test_a_look_at_flash_keeps_nothing(foreign):
    """Each one took a little of the firmware's heap for good."""
    card = foreign(
        "import gc, uctypes\n"
        "LAYOUT = {'a': 0 | uctypes.UINT32}\n"
        "def look():\n"
        "    for _ in range(2000):\n        uctypes.struct(0x10000000, LAYOUT).a\n"
        "    gc.collect()\n    return gc.mem_alloc()\n"
        "look()\nbefore = look()\nprint(look() - before < 1000)\n"
    )
    card.power_on()
    assert card.console == "True\n"
