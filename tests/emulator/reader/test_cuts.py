"""Power cuts in every command of the reader that changes its state, on the real firmware.

The normal run takes a sample; TALLY_CAMPAIGN=1 takes every operation, every phase and eight ways to
tear.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from fido2.ctap2 import ClientPin

from tallystick.emulator.parts.nor_flash import Phase
from tests.emulator.reader import cuts
from tests.emulator.reader.conftest import Life
from tests.emulator.reader.rig import Rig

WHOLE = bool(os.environ.get("TALLY_CAMPAIGN"))
SAMPLE = 3


@pytest.fixture(scope="module")
def begun(reader_image: object, in_service: Life) -> Life:
    """In service, with one credential."""
    rig = Rig(reader_image, in_service.flash, in_service.sensor)  # type: ignore[arg-type]
    rig.register(b"user-1")
    life = Life(rig.image_of_flash(), rig.sensor)
    rig.close()
    return life


@pytest.mark.campaign
@pytest.mark.parametrize("scenario", cuts.SCENARIOS, ids=lambda scenario: scenario.name)
def test_cut(new_rig: Callable[..., Rig], begun: Life, scenario: cuts.Scenario) -> None:
    rig = new_rig(begun)
    before = cuts.observe(rig)
    rig = new_rig(begun)
    operations = cuts.count_operations(rig, scenario.prepare(rig))
    rig.replug()
    after = cuts.observe(rig)
    assert operations >= 1
    every = list(cuts.cuts(operations, 8 if WHOLE else 2))
    chosen = every if WHOLE else random.Random(scenario.name).sample(every, min(SAMPLE, len(every)))
    for number, phase, seed in chosen:
        rig = new_rig(begun)
        call = scenario.prepare(rig)
        start = rig.reader.flash.operations
        rig.reader.flash.fault_plan = cuts.CutAt(number, phase, seed)
        retries_then = {"retries": 8, "uv_retries": 5}
        with pytest.raises(ConnectionError):
            call()
        rig.reader.flash.fault_plan = None
        assert rig.reader.flash.operations - start == number
        found = cuts.observe(_again(new_rig, rig))
        where = f"{scenario.name}: operation {number} of {operations}, {phase}, seed {seed}"
        _check(found, before, after, where)
        for name, value in retries_then.items():
            assert found[name] <= value, where
        rig.close()


def _again(new_rig: Callable[..., Rig], rig: Rig) -> Rig:
    """The same reader after a start, a look and another start: nothing wavers."""
    first = new_rig(Life(rig.image_of_flash(), rig.sensor))
    first.reader.flash.weak |= rig.reader.flash.weak
    first.replug()
    one = ClientPin(first.ctap())
    retries = one.get_pin_retries()[0], one.get_uv_retries()
    first.replug()
    two = ClientPin(first.ctap())
    assert (two.get_pin_retries()[0], two.get_uv_retries()) == retries
    return first


def _check(found: dict, before: dict, after: dict, where: str) -> None:
    """Each thing is as it was before, or as it is after."""
    stripped = cuts.without_retries(found)
    old, new = cuts.without_retries(before), cuts.without_retries(after)
    if _makes_identifiers(new, old):
        stripped, old, new = (_without_identifiers(seen) for seen in (stripped, old, new))
    if stripped.get("templates") != old.get("templates") and stripped.get("fingers") == old.get(
        "fingers"
    ):
        raise AssertionError(f"{where}: a template without its record was left")
    assert stripped in (old, new), where


def _makes_identifiers(new: dict, old: dict) -> bool:
    return new.get("credentials") != old.get("credentials")


def _without_identifiers(seen: dict) -> dict:
    """A credential that is made has another identifier in every run."""
    known = [(user, name) for user, name, _ in seen.get("credentials", [])]
    return {**seen, "credentials": known} if "credentials" in seen else seen


def test_retries_go_down_before_the_pin_is_looked_at(
    new_rig: Callable[..., Rig], begun: Life
) -> None:
    """A cut after the first write of a wrong PIN leaves one try less, so cutting gains nothing."""
    rig = new_rig(begun)
    client_pin = ClientPin(rig.ctap())
    assert client_pin.get_pin_retries()[0] == 8
    rig.reader.flash.fault_plan = cuts.CutAt(1, Phase.AFTER, 0)
    with pytest.raises(ConnectionError):
        client_pin.get_pin_token("0000")
    rig.reader.flash.fault_plan = None
    again = new_rig(Life(rig.image_of_flash(), rig.sensor))
    assert ClientPin(again.ctap()).get_pin_retries()[0] == 7


def test_a_right_pin_and_cuts_gain_no_tries(new_rig: Callable[..., Rig], begun: Life) -> None:
    """Wrong PINs with the power cut at every possible place: the counter only falls."""
    life = begun
    last = 8
    for number in range(1, 7):
        rig = new_rig(life)
        client_pin = ClientPin(rig.ctap())
        client_pin.get_pin_retries()
        phase = list(Phase)[number % 3]
        rig.reader.flash.fault_plan = cuts.CutAt(1, phase, number)
        with pytest.raises(ConnectionError):
            client_pin.get_pin_token("0000")
        rig.reader.flash.fault_plan = None
        life = Life(rig.image_of_flash(), rig.sensor)
        again = new_rig(life)
        left = ClientPin(again.ctap()).get_pin_retries()[0]
        life = Life(again.image_of_flash(), again.sensor)
        assert last - 1 <= left <= last
        last = left
    assert last < 8
