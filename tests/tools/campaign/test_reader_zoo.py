"""The reader's part of the zoo is caught: in which scenario, and by how many cuts.

The normal run hunts some of the animals; `tally campaign zoo`, which `make campaign` runs, all.
"""

from __future__ import annotations

import pytest

from tallystick.tools.campaign.commands.zoo import find, hunt
from tallystick.tools.campaign.reader.animals import ANIMALS
from tests.whole import WHOLE

# name → (scenario, power cuts of the shortest reproduction). No cut: wrong already without one.
CAUGHT = {
    "reader-compares-first": ("reader-right-pin", 1),
    "reader-finger-compares-first": ("reader-right-finger", 1),
    "reader-tries-restored": ("reader-wrong-pin", 1),
    "reader-record-before-template": ("reader-enrol", 1),
    "reader-template-before-record": ("reader-remove-finger", 1),
    "reader-unsettled-removal": ("reader-wavering-finger", 1),
    "reader-settled-too-late": ("reader-wavering-finger", 1),
    "reader-sensor-forgets-first": ("reader-reset", 1),
    "reader-unconfirmed-template": ("reader-enrol-full", 1),
    "reader-counter-in-memory": ("reader-log-in", 1),
    "reader-delete-then-put": ("reader-register-again", 1),
    "reader-credential-in-two-writes": ("reader-register", 1),
    "reader-made-lost": ("reader-register", 0),
    "reader-erase-then-new": ("reader-reset", 1),
    "reader-scrub-forgotten": ("reader-reset-goes-on", 1),
    "reader-no-floor": ("reader-reset", 1),
    "reader-nothing-moves": ("reader-delete-at-wrap", 1),
    "reader-no-crc": ("reader-blobs", 1),
    "reader-no-settling": ("reader-right-pin", 1),
    "reader-one-sector": ("reader-worn-sector", 0),
}
QUICK = [
    "reader-compares-first",
    "reader-finger-compares-first",
    "reader-unsettled-removal",
    "reader-counter-in-memory",
    "reader-made-lost",
    "reader-scrub-forgotten",
    "reader-one-sector",
]


def test_each_is_expected() -> None:
    assert [animal.name for animal in ANIMALS] == list(CAUGHT)


@pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)
def test_every_patch_fits(animal: object) -> None:
    with find(animal.name).firmware() as root:  # type: ignore[attr-defined]
        assert (root / "main.py").is_file()


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize("name", list(CAUGHT) if WHOLE else QUICK)
def test_it_is_caught(name: str) -> None:
    row = hunt(find(name))
    assert row.caught, name
    assert (row.scenario, row.cuts) == CAUGHT[name], row
    assert row.reproduction.startswith(f"pico2/{row.scenario}/1")
