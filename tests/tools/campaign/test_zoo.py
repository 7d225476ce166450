"""Every animal of the zoo is caught: in which scenario, and by how short a failure."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tallystick.tools.campaign.card.animals import ANIMALS
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands.zoo import find, hunt
from tests.whole import WHOLE

# name → (scenario, power cuts of the shortest reproduction). No cut: the firmware is wrong already
# without one.
CAUGHT = {
    "show-before-commit": ("press", 1),
    "save-after-250-ms": ("press", 1),
    "save-when-dark": ("press", 1),
    "every-second-code": ("press", 0),
    "delete-then-write": ("press", 1),
    "truncate-in-place": ("press", 1),
    "ring-of-one": ("press-at-wrap", 1),
    "erase-both": ("press-at-wrap", 1),
    "no-crc": ("press", 1),
    "magic-before-contents": ("press", 1),
    "highest-sector-wins": ("press-at-lap", 0),
    "narrow-counter": ("press-at-lap", 0),
    "sequence-starts-again": ("press-at-lap", 0),
    "first-record-wins": ("press", 1),
    "defaults-on-failed-load": ("press", 1),
    "format-on-failed-load": ("press", 1),
    "no-settling": ("wipe-and-reseed", 2),  # the second at rest: weak bits read differently
    "no-mending": ("wipe-and-reseed", 1),
    "no-read-back": ("first-boot", 1),
    "keys-in-two-writes": ("key-rotation", 1),
    "name-before-seed": ("provisioning", 1),
    "factor-after-seed": ("wipe-and-reseed", 1),
    "life-cycle-in-memory": ("provisioning", 1),
    "life-cycle-restored": ("key-rotation", 1),
    "reserves-ten": ("press", 0),
    "answers-before-commit": ("provisioning", 1),
    "one-attempt": ("press-at-wrap", 1),
    "sixteen-bits": ("put-far", 0),
    "eight-bits": ("press-at-255", 0),
    "thirty-two-bits": ("press-at-2-32", 0),
    "sixty-three-bits": ("press-at-2-64", 0),
    "halves-swapped": ("press-at-65535", 0),
    "every-64th-uncommitted": ("press-at-64", 1),
    "critical-ignored-once": ("low-cell", 0),
    "critical-until-recorded": ("low-cell", 0),
    "recovers-at-once": ("low-cell", 0),
    "terminated-then-wiped": ("terminate", 1),
    "wiped-then-terminated": ("terminate", 1),
    "no-jump": ("press", 1),
    "unbounded-jump": ("spoiled-slots", 0),
    "old-seeds-stay": ("wipe-and-reseed", 0),
    "old-keys-stay": ("key-rotation", 0),
}

LONG = ("no-settling", "ring-of-one", "no-mending")  # half the time of all: in a whole run


def test_there_are_twenty_and_more() -> None:
    assert len(ANIMALS) >= 20
    assert [animal.name for animal in ANIMALS] == list(CAUGHT)


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_every_patch_fits(animal: object) -> None:
    """So that a change of the firmware says at once which animals must be written anew."""
    with find(animal.name).firmware() as root:  # type: ignore[attr-defined]
        assert (root / "main.py").is_file()


def test_what_is_caught_is_told_with_the_command_that_shows_it_again() -> None:
    shown = CliRunner().invoke(campaign, ["zoo", "every-second-code", "--jobs", "1"])
    assert shown.exit_code == 0, shown.output
    (line,) = [one for one in shown.output.splitlines() if "tally campaign replay" in one]
    words = line.split()[2:]
    assert words[-2:] == ["--zoo", "every-second-code"]
    again = CliRunner().invoke(campaign, words)
    assert again.exit_code == 1 and "no violation" not in again.output


def test_any_board_may_be_named() -> None:
    words = ["powercut", "--board", "pico2_card", "--list"]
    assert "press " in CliRunner().invoke(campaign, words).output
    assert "No such" not in CliRunner().invoke(campaign, words).output


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CAUGHT if WHOLE or name not in LONG])
def test_it_is_caught(name: str) -> None:
    row = hunt(find(name))
    assert row.caught, name
    assert (row.scenario, row.cuts) == CAUGHT[name], row
    board = "nucleo_l476rg" if name == "recovers-at-once" else "pico"  # its cell has two limits
    assert row.reproduction.startswith(f"{board}/{row.scenario}/1")
