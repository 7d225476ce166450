"""Old copies of the reader's flash and sensor: a sample of what `tally campaign rollback` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.commands.zoo import hunt
from tallystick.tools.campaign.ctap.basics import PIN, WRONG_PIN
from tallystick.tools.campaign.ctap.world import INDEX, STRANGER, THUMB
from tallystick.tools.campaign.engine.subject import ViolationError, image_under_test
from tallystick.tools.campaign.rollback.animals import ANIMALS
from tallystick.tools.campaign.rollback.run import RollbackTally, rob
from tallystick.tools.campaign.rollback.thief import Thief
from tests.whole import WHOLE

HUNTED = ANIMALS if WHOLE else ANIMALS[:2]  # make campaign hunts all of them
LAST = 5  # number of the owner's last copy; 2: with the finger that was removed


@pytest.fixture(scope="module")
def robbed() -> Iterator[Thief]:
    with resident.enabled():
        thief = Thief(image_under_test("reader", "pico2", None, readable=True))
        yield thief
        thief.close()


@pytest.fixture
def thief(robbed: Thief) -> Thief:
    robbed.begin()
    return robbed


@pytest.mark.campaign
def test_thieves_gain_nothing(thief: Thief) -> None:
    count = 400 if WHOLE else 6
    result = RollbackTally()
    for seed in range(count):
        rob(thief, seed, result)
    assert not result.found and result.violations == 0
    assert result.write_backs > 5 * count and result.wrong_pins + result.wrong_fingers > count


def test_eight_wrong_pins_are_all_whatever_is_written_back(thief: Thief) -> None:
    for _ in range(12):
        thief.try_pin(WRONG_PIN)
        thief.write_back(LAST, flash=True, sensor=False)
    assert thief.gained.wrong_pins == 8


def test_five_wrong_fingers_are_all_whatever_is_written_back(thief: Thief) -> None:
    for n in range(8):
        thief.try_finger(STRANGER)
        if n & 1:
            thief.copy()
        thief.write_back(-1 if n & 1 else LAST, flash=True, sensor=False)
    assert thief.gained.wrong_fingers <= 5


def _with_a_bit_to_come(thief: Thief, attempt: Callable[[], None]) -> None:
    """The newest copy says that a try is burnt which was cut before it was; then an older copy lets
    a try of the other kind burn it, and the newest is written back. (Thief 1,399 found that.)"""
    thief.cut_at(0)
    attempt()
    thief.copy()
    thief.write_back(LAST, flash=True, sensor=False)


def test_fingers_that_were_cut_hide_no_wrong_pin(thief: Thief) -> None:
    for _ in range(3):
        _with_a_bit_to_come(thief, lambda: thief.try_finger(STRANGER))
        thief.try_pin(WRONG_PIN)
        thief.write_back(-1, flash=True, sensor=False)
    for _ in range(8):
        thief.try_pin(WRONG_PIN)
        thief.replug()
    assert thief.gained.cuts > 1 and thief.gained.wrong_pins <= 8


def test_pins_that_were_cut_hide_no_wrong_finger(thief: Thief) -> None:
    for _ in range(3):
        _with_a_bit_to_come(thief, lambda: thief.try_pin(WRONG_PIN))
        thief.try_finger(STRANGER)
        thief.write_back(-1, flash=True, sensor=False)
    for _ in range(6):
        thief.try_finger(STRANGER)
    assert thief.gained.cuts > 1 and thief.gained.wrong_fingers <= 5


@pytest.mark.parametrize("first", range(0, 14, 2))
def test_a_chip_between_that_stops_programs_gives_no_try(thief: Thief, first: int) -> None:
    """From that operation on, until the first command is answered, nothing reaches the flash."""
    for _ in range(9):
        thief.write_back(LAST, flash=True, sensor=False)
        thief.stop_programs_at(first)
        thief.try_pin(WRONG_PIN)
        thief.try_pin(WRONG_PIN)
    assert 0 < thief.gained.wrong_pins <= 8


@pytest.mark.parametrize("number", range(LAST - 1))
def test_a_copy_from_before_a_change_of_pin_is_not_believed(thief: Thief, number: int) -> None:
    thief.write_back(number, flash=True, sensor=True)
    thief.try_pin(PIN)
    for finger in (INDEX, THUMB):
        thief.try_finger(finger)
    assert thief.gained.wrong_pins == 0


def test_a_removed_finger_does_not_come_back_with_the_sensors_memory(thief: Thief) -> None:
    thief.write_back(2, flash=False, sensor=True)
    thief.try_finger(INDEX)
    assert thief.gained.wrong_fingers == 1


def test_the_owners_finger_is_still_taken(thief: Thief) -> None:
    thief.write_back(LAST, flash=True, sensor=True)
    with pytest.raises(ViolationError, match="thumb is taken"):
        thief.try_finger(THUMB)


@pytest.mark.parametrize("pulse", range(4))
def test_power_that_goes_while_a_bit_is_burnt_tells_nothing_and_gives_nothing(
    thief: Thief, pulse: int
) -> None:
    for _ in range(12):
        thief.cut_at(pulse)
        thief.try_pin(WRONG_PIN)
        thief.write_back(LAST, flash=True, sensor=False)
    thief.cut_at(99)
    for _ in range(12):
        thief.try_pin(WRONG_PIN)
        thief.write_back(LAST, flash=True, sensor=False)
    assert thief.gained.wrong_pins <= 8


@pytest.mark.campaign
@pytest.mark.parametrize("animal", HUNTED, ids=lambda animal: animal.name)
def test_each_broken_reader_is_caught(animal: object) -> None:
    assert hunt(animal).caught  # type: ignore[arg-type]


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(
        tally, ["campaign", "rollback", "--write-backs", "1", "--jobs", "1", "--json"]
    )
    said = json.loads(done.output)
    assert done.exit_code == 0 and said["violations"] == 0 and said["write_backs"] >= 1
