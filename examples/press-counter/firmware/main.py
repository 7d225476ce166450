"""Counts presses. The count is kept while the cell is in, and starts anew after a long press."""

import machine
import stm
from machine import Pin
from panel import Panel

_RCC_APB1ENR1 = 0x40021058
_PWR_CR1, _PWR_CR3, _PWR_CR4, _PWR_SCR = 0x40007000, 0x40007008, 0x4000700C, 0x40007018
_PWR_PDCRA = 0x40007024
_RTC_CR, _RTC_WPR = 0x40002808, 0x40002824
_BACKUP, _STARTED = 0x40002850, 0x40002854  # RTC_BKP0R and 1R: kept in Shutdown, not without a cell
_MARK = 0x50524553
_SHOWN_MS = 5000
_LONG_MS = 1500

button = Pin("A0", Pin.IN, Pin.PULL_DOWN)
button.irq(lambda pin: None, Pin.IRQ_RISING | Pin.IRQ_FALLING)


def open_backup():
    stm.mem32[_RCC_APB1ENR1] = stm.mem32[_RCC_APB1ENR1] | 1 << 10 | 1 << 28
    stm.mem32[_PWR_CR1] = stm.mem32[_PWR_CR1] | 1 << 8


def count():
    """Waits for the button to come up; a long press starts anew."""
    held = 0
    while button.value() and held < _LONG_MS:
        machine.lightsleep(20)
        held += 20
    number = 0 if held >= _LONG_MS else stm.mem32[_BACKUP] + 1
    stm.mem32[_BACKUP] = number
    return number


def show(number):
    panel = Panel()
    text = str(number)
    for i in range(len(text)):
        panel.frame.text(text[i], 64 - 4 * len(text) + 8 * i, 60, 0)
    panel.frame.rect(24, 40, 80, 48, 0)
    panel.show()
    return panel


def off():
    # Without this the timer of the last light sleep would end Shutdown.
    stm.mem32[_RTC_WPR] = 0xCA
    stm.mem32[_RTC_WPR] = 0x53
    stm.mem32[_RTC_CR] = stm.mem32[_RTC_CR] & ~(1 << 10 | 1 << 14)
    stm.mem32[_RTC_WPR] = 0xFF
    # In Shutdown a pin floats unless it is pulled from here (PA0), and a floating pin wakes us.
    stm.mem32[_PWR_PDCRA] = stm.mem32[_PWR_PDCRA] | 1
    stm.mem32[_PWR_CR4] = 0
    stm.mem32[_PWR_CR3] = stm.mem32[_PWR_CR3] | 1 << 10 | 1
    stm.mem32[_PWR_SCR] = 0x1F
    machine.deepsleep()


open_backup()
# Shutdown ends as power-on does, in `machine.reset_cause` too: the mark tells the two apart.
if stm.mem32[_STARTED] == _MARK:
    shown = show(count())
    for _ in range(_SHOWN_MS // 500):
        machine.lightsleep(500)
        shown.keep()
stm.mem32[_STARTED] = _MARK
off()
