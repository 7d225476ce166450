"""Firmware that never waits: the emulator comes back, and says so."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.interpreter import link, resident
from tallystick.tools.image.folder import from_folder

ERASES = "import rp2\nflash = rp2.Flash()\nwhile True:\n    flash.ioctl(6, 300)\n"


@pytest.fixture
def run(tmp_path):
    cards = []

    def start(source):
        (tmp_path / "main.py").write_text(source)
        cards.append(Card(from_folder(tmp_path, "pico"), seed=1))
        return cards[0]

    yield start
    for card in cards:
        card.close()


def test_work_without_end_does_not_hold_up_the_host(run):
    card = run(ERASES)
    card.power_on()
    card.run_for(100)
    assert 30_000 < card.clock.now / 1_000 < 100_000  # it was given time, and then left at it
    before = card.clock.now
    card.run_for(60_000)
    assert card.clock.now > before


@pytest.mark.parametrize("inside", [False, True])
def test_a_loop_that_touches_nothing_ends_with_its_reason(run, monkeypatch, inside):
    monkeypatch.setattr(link, "SILENCE_S", 0.3)
    card = run("while True:\n    pass\n")
    with resident.enabled() if inside else nullcontext():
        with pytest.raises(FirmwareCrashError, match="endless loop"):
            card.power_on()
            card.run_for(100)
        card.power_off()
        with pytest.raises(FirmwareCrashError, match="endless loop"):
            card.power_on()  # as before
