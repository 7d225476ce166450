"""Edges of a pin end a light sleep: those that firmware asked for, and no others. (On the RP2
boards no pin does.)"""

from __future__ import annotations

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.tools.image.folder import from_folder

MAIN = """
import machine
import time
from machine import Pin

line = machine.UART(1, 115200)
pin = Pin("A0", Pin.IN)
pin.irq(lambda p: None, {trigger})
line.write(b"ready\\n")
for _ in range(4):
    begin = time.ticks_ms()
    machine.lightsleep(10_000)
    line.write(b"high\\n" if pin.value() else b"low\\n")
while True:
    machine.lightsleep(60_000)
"""
TRIGGERS = {
    "Pin.IRQ_RISING": ["high", "high"],
    "Pin.IRQ_FALLING": ["low", "low"],
    "Pin.IRQ_RISING | Pin.IRQ_FALLING": ["high", "low", "high", "low"],
}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_the_edges_that_were_asked_for_end_a_light_sleep(trigger, tmp_path):
    (tmp_path / "main.py").write_text(MAIN.format(trigger=trigger))
    sent = bytearray()
    with Card(from_folder(tmp_path, "nucleo_l476rg"), seed=1) as card:
        card.mcu.uart.on_send = sent.extend
        card.mcu.set_input(card.board.button_pin, 0)
        card.power_on()
        assert card.run_until(lambda: b"ready" in sent, 1000)
        card.run_for(50)
        for level in (1, 0, 1, 0):
            card.mcu.set_input(card.board.button_pin, level)
            card.run_for(50)
    assert sent.decode().split() == ["ready", *TRIGGERS[trigger]]
