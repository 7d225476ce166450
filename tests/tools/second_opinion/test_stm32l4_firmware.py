"""The reference card's own MicroPython on the STM32L476 that is emulated by instructions."""

from __future__ import annotations

import pytest

from tallystick.emulator.boards import find
from tallystick.tools.fresh import card
from tallystick.tools.second_opinion.chips import make
from tallystick.tools.second_opinion.firmware import read_firmware
from tallystick.tools.second_opinion.record import Recorder
from tallystick.tools.second_opinion.scenario import HeldChip, act, entropy, station

BOARD = find("nucleo_l476rg")
USB_REGISTERS = 0x50000000  # RM0351, 2.2.2: OTG_FS
PORT_C, SWITCH = 2, 13  # B1 of a NUCLEO-64, low while it is down
BAD_BLOCK = bytes.fromhex("00 81 00 53d8")  # T=1: send that again
TYPED = b"\x03\x03\x01\x04\r\nprint(6 * 7)\r\n"  # ends a program, asks for a raw prompt, uses it


@pytest.mark.slow
def test_a_switch_held_at_the_reset_opens_no_prompt_and_no_usb(firmware):
    """The port's safe mode is a prompt, and its USB a drive with the flash in it."""
    with card(BOARD.name) as device:  # as it leaves the factory
        ours = (BOARD.record.address, bytes(device.flash.memory[BOARD.record.address :]))
    segments = [*read_firmware(firmware(BOARD.name), BOARD), ours]
    records, said = [], []
    for held in (False, True):
        chip = make(BOARD, segments, entropy=entropy("card"))
        recorder, rig = Recorder(chip), HeldChip(chip, station(BOARD.name))
        if held:
            chip.ports[PORT_C].drive(SWITCH, 0)
        assert USB_REGISTERS >> 8 not in chip.core._devices  # a touch of them ends the run
        records.append([recorder.take(act(step, rig)) for step in (HeldChip.start, HeldChip.hold)])
        chip.set_dock(True)
        chip.run(1500)  # the card serves its line
        chip.send(TYPED)
        chip.run(1500)
        said.append(bytes(chip.sent))
        records[-1].append(recorder.take(""))
    assert records[0] == records[1]
    assert records[0][1].result == "shown"
    assert said[0] == said[1] == BAD_BLOCK  # and no echo, no prompt, no 42
