"""A counter on a Pico: one button counts up, one down, an OLED shows the number."""

import time

from machine import I2C, Pin
from screen import Screen

up = Pin(14, Pin.IN, Pin.PULL_UP)
down = Pin(15, Pin.IN, Pin.PULL_UP)
lamp = Pin("LED", Pin.OUT, value=0)
screen = Screen(I2C(0, scl=Pin(5), sda=Pin(4)))
count = 0
before = (1, 1)


def show():
    lamp.value(count < 0)
    screen.number(count)


show()
while True:
    now = (up.value(), down.value())
    step = (before[0] & ~now[0] & 1) - (before[1] & ~now[1] & 1)
    if step:
        count += step
        show()
    before = now
    time.sleep_ms(20)  # longer than a contact bounces
