"""What firmwares of other people wait for: flags that interrupts set, streams, the keyboard."""

from __future__ import annotations

import pytest

from tests.emulator.test_console import crash_of

FLAG = """
import asyncio
from machine import Timer

flag = asyncio.ThreadSafeFlag()

async def main():
    Timer(mode=Timer.ONE_SHOT, period=50, callback=lambda timer: flag.set())
    await flag.wait()
    print("flag")

asyncio.run(main())
"""
PIN_FLAG = """
import asyncio
from machine import Pin

flag = asyncio.ThreadSafeFlag()
Pin(15, Pin.IN, Pin.PULL_UP).irq(lambda pin: flag.set(), Pin.IRQ_FALLING)

async def main():
    for _ in range(2):
        await flag.wait()
        print("pressed")

asyncio.run(main())
"""


@pytest.mark.parametrize("board", ["pico", "pico2_card"])
def test_a_flag_that_a_timer_sets_wakes_its_task(foreign, board):
    card = foreign(FLAG, board)
    card.power_on()
    card.run_for(100)
    assert card.console == "flag\n"


def test_a_flag_that_a_pin_sets_wakes_its_task(foreign):
    card = foreign(PIN_FLAG)
    for number in range(4):
        card.clock.at(
            500_000 * (number + 1),
            lambda number=number: card.mcu.set_input(15, None if number % 2 else 0, "a button"),
        )
    card.power_on()
    card.run_for(500)
    assert card.console == "pressed\n"
    card.run_for(1500)
    assert card.console == "pressed\npressed\n"


POLL = """
import select
import sys
import time
from machine import Timer

{tick}
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
began = time.ticks_ms()
print(poll.poll(0), poll.poll(400), time.ticks_diff(time.ticks_ms(), began))
"""


@pytest.mark.parametrize("tick", ["", "Timer(period=50, callback=lambda timer: None)"])
def test_a_poll_in_vain_takes_its_time(foreign, tick):
    card = foreign(POLL.format(tick=tick))
    card.power_on()
    card.run_for(1000)
    ready, waited, took = card.console.rsplit(" ", 2)
    assert (ready, waited) == ("[]", "[]")
    assert 400 <= int(took) <= 402


def test_a_poll_ends_with_what_it_waits_for(foreign):
    card = foreign(
        "import io, select, time\nfrom machine import Timer\n"
        "class Ready(io.IOBase):\n"
        "    now = False\n"
        "    def ioctl(self, op, flags):\n"
        "        return flags if self.now else 0\n"
        "stream = Ready()\n"
        "def make(timer):\n    stream.now = True\n"
        "Timer(mode=Timer.ONE_SHOT, period=70, callback=make)\n"
        "poll = select.poll()\npoll.register(stream, select.POLLIN)\n"
        "began = time.ticks_ms()\n"
        "print(len(poll.poll(400)), time.ticks_diff(time.ticks_ms(), began) in (70, 71))\n"
    )
    card.power_on()
    card.run_for(1000)
    assert card.console == "1 True\n"


KEYBOARD = [
    "input('name? ')",
    "import sys\nprint('name? ', end='')\nsys.stdin.readline()",
    "import sys\nprint('name? ', end='')\nsys.stdin.read(1)",
    "import sys\nprint('name? ', end='')\nsys.stdin.buffer.read(1)",
    "import sys\nprint('name? ', end='')\nfor line in sys.stdin:\n    pass",
]


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
@pytest.mark.parametrize("wait", KEYBOARD)
def test_nobody_types_and_interrupts_go_on(foreign, wait, board):
    card = foreign(
        "from machine import Timer\n"
        "Timer(period=100, callback=lambda timer: print('tick'))\n" + wait + "\nprint('typed')",
        board,
    )
    card.power_on()
    card.run_for(350)
    assert card.console.startswith("name? tick\ntick\ntick\n")
    assert "typed" not in card.console


def test_threads_are_said_to_be_left_out(foreign):
    what = crash_of(foreign("import time\nimport _thread\n_thread.start_new_thread(print, ())"))
    assert 'File "main.py", line 2' in what
    assert "not emulated: _thread (docs/guides/emulator.md)" in what


def test_a_board_without_threads_says_so(foreign):
    assert "no module named '_thread'" in crash_of(foreign("import _thread", "nucleo_l476rg"))


FLAGS = """
from machine import Pin
import time

seen = []

def edge(pin):
    seen.append((pin.irq().flags(), pin.value()))

button = Pin(15, Pin.IN, Pin.PULL_UP)
interrupt = button.irq(edge)
print(interrupt.flags())
time.sleep_ms(350)
print(seen)
interrupt.trigger(Pin.IRQ_RISING)
print(interrupt.flags())
time.sleep_ms(200)
print(seen[3:], button.irq().trigger())
button.irq(handler=None)
time.sleep(1)
print(len(seen))
"""


def test_an_interrupt_tells_its_edge_and_takes_another(foreign):
    card = foreign(FLAGS)
    for number in range(8):
        card.clock.at(
            100_000 * (number + 1),
            lambda number=number: card.mcu.set_input(15, number % 2, "a button"),
        )
    card.power_on()
    card.run_for(2000)
    falling, rising = (4, 0), (8, 1)
    assert card.console.split("\n") == [
        "0", str([falling, rising, falling]), "0", f"[{rising}] 8", "4", "",
    ]  # fmt: skip


def test_an_exit_starts_the_firmware_anew(foreign):
    """As the board's soft reset: `boot.py` and `main.py` again."""
    card = foreign("import sys, time\ntime.sleep_ms(100)\nprint('bye')\nsys.exit(3)")
    card.power_on()
    card.run_for(400)
    assert card.console.count("bye\n") > 2


WAVES = """
from machine import PWM, Pin
for name in ("A5", "A0", "B5"):
    print(name, PWM(Pin(name), freq=50, duty_ns=1500000))
wave = PWM("A5")
for hz in (50, 440, 1000, 38000, 1000000):
    wave.freq(hz)
    wave.duty_u16(32768)
    print(wave.freq(), wave.duty_u16(), wave.duty_ns())
try:
    PWM("C5")
except ValueError as error:
    print(error)
"""


def test_pwm_of_the_reference_board_is_of_its_timers(foreign):
    card = foreign(WAVES, "nucleo_l476rg")
    card.power_on()
    card.run_for(100)
    assert card.console.split("\n") == [
        "A5 <PWM TIM2_CH1>",
        "A0 <PWM TIM5_CH1>",
        "B5 <PWM TIM3_CH2>",
        "50 32768 10000154",
        "439 32768 1136385",
        "1000 32768 500000",
        "38011 32768 13154",
        "1000000 32768 500",
        "Pin(C5) doesn't have PWM capabilities",
        "",
    ]


LINE = """
from machine import UART, Pin
import time

seen = []

def idle(uart):
    seen.append((uart.irq().flags() == UART.IRQ_RXIDLE, uart.read()))

uart = UART(0, 115200, tx=Pin(0), rx=Pin(1))
print(uart.irq(idle, UART.IRQ_RXIDLE).flags())
time.sleep(2)
print(seen)
"""


def test_the_interrupt_of_a_line_is_asked_for_and_stays(foreign):
    card = foreign(LINE)
    card.power_on()
    for _ in range(2):
        card.send(b"hello")
        card.run_for(100)
    card.run_for(3000)
    assert card.console == "0\n" + str([(True, b"hello")] * 2) + "\n"
