"""Every enrolment feedback code of CTAP 2.1 comes of something that a finger does."""

from __future__ import annotations

import pytest

from tallystick.emulator.fingerprints.fingers import BEHAVIOURS, behaviour, finger
from tallystick.emulator.fingerprints.impression import Press
from tallystick.emulator.parts.r503_flash import CAPACITY
from tests.emulator.fingerprints import host as driver

THUMB, INDEX = "right-thumb", "left-index"

EXPECTED = {
    "usual": 0, "still": 0, "high": 1, "low": 2, "left": 3, "right": 4, "quick": driver.TOO_FAST,
    "slow": driver.TOO_SLOW, "dry": driver.POOR, "wet": driver.POOR, "slide": driver.SKEWED,
    "tip": driver.SHORT,
}  # fmt: skip


def act(module, clock, master, name, after_us=100_000):
    """The finger comes down a little later, and leaves when its behaviour says so."""
    how = behaviour(name)
    rng = module._np

    def down():
        module.present(master, how.press(rng, master.traits), creep_ms=how.creep_ms)
        if how.ms is not None:
            clock.after(how.ms * 1000, module.lift)

    clock.after(after_us, down)


def test_all_behaviours_are_expected():
    assert set(EXPECTED) == set(BEHAVIOURS)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("whose", [THUMB, INDEX], ids=["thumb", "index"])
def test_behaviour_leads_to_its_feedback(host, module, virtual_clock, name, whose):
    act(module, virtual_clock, finger(whose), name)
    assert host.take_sample(1) == EXPECTED[name]


def test_no_activity(host):
    assert host.take_sample(1) == driver.NO_ACTIVITY


def test_no_lift_and_lift(host, module, virtual_clock):
    module.present(finger(THUMB), Press())
    assert host.take_sample(1) == 0
    assert host.await_lift() == driver.NO_LIFT
    virtual_clock.after(500_000, module.lift)
    assert host.await_lift() == 0


def enrol(host, module, fingers, page=0):
    for buffer, name in enumerate(fingers, start=1):
        module.present(finger(name), Press(turn_deg=3.0 * buffer))
        assert host.take_sample(buffer) == 0
        module.lift()
    return host.finish(page)


def test_merge_failure(host, module):
    assert enrol(host, module, [THUMB, THUMB, INDEX, THUMB, THUMB, THUMB]) == driver.MERGE_FAILURE
    assert enrol(host, module, [THUMB] * 6) == 0  # the failed samples are forgotten


def test_exists(host, module):
    assert enrol(host, module, [THUMB] * 6) == 0
    assert enrol(host, module, [INDEX] * 6, page=1) == 0
    assert enrol(host, module, [THUMB] * 6, page=2) == driver.EXISTS


def test_full(host, module):
    assert enrol(host, module, [THUMB] * 6) == 0
    module.flash.templates.update(dict.fromkeys(range(1, CAPACITY), module.flash.templates[0]))
    assert enrol(host, module, [INDEX] * 6) == driver.FULL


def test_without_the_hint_a_driver_says_poor(host, module, virtual_clock):
    """A real module leaves the high byte of its status register 0."""
    host.hint = lambda: 0
    act(module, virtual_clock, finger(THUMB), "left")
    assert host.take_sample(1) == driver.POOR
