"""Retry counters and power cuts: cutting gains no tries. Every command and every cut is the
campaign's (tests/tools/campaign/test_reader.py).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fido2.ctap2 import ClientPin

from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tests.emulator.reader.conftest import Life
from tests.emulator.reader.rig import Rig


def _wrong_pin_cut(rig: Rig, phase: Phase) -> None:
    """The power goes at the first flash operation of a wrong PIN."""
    client_pin = ClientPin(rig.ctap())
    client_pin.get_pin_retries()

    def cut(operation: FlashOperation) -> Cut:
        half = len(operation.old) // 2
        return Cut(phase, operation.new[:half] + operation.old[half:])

    rig.reader.flash.fault_plan = cut
    with pytest.raises(ConnectionError):
        client_pin.get_pin_token("0000")
    rig.reader.flash.fault_plan = None


def test_retries_go_down_before_the_pin_is_looked_at(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """A cut after the first write of a wrong PIN leaves one try less, so cutting gains nothing."""
    rig = new_rig(in_service)
    _wrong_pin_cut(rig, Phase.AFTER)
    again = new_rig(Life(rig.image_of_flash(), rig.sensor))
    assert ClientPin(again.ctap()).get_pin_retries()[0] == 7


def test_wrong_pins_and_cuts_gain_no_tries(new_rig: Callable[..., Rig], in_service: Life) -> None:
    """One after the other, with the power cut before, during and after the write."""
    life = in_service
    last = 8
    for number in range(1, 7):
        rig = new_rig(life)
        _wrong_pin_cut(rig, list(Phase)[number % 3])
        life = Life(rig.image_of_flash(), rig.sensor)
        again = new_rig(life)
        left = ClientPin(again.ctap()).get_pin_retries()[0]
        life = Life(again.image_of_flash(), again.sensor)
        assert last - 1 <= left <= last
        last = left
    assert last < 8
