"""The journal on three small sectors, for any number of cuts in a row. This visits a part of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tallystick.common.errors import ExitCode
from tallystick.tools.campaign.card.animals import ANIMALS
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.proof.journal import (
    BLANK,
    HOLDS,
    IN_HAND,
    JournalRecord,
    JournalState,
    JournalWorld,
    Slot,
    Spoiled,
    Wavering,
    spoiled,
)
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.search import visit

JOURNAL = "lib/journal.py"
BY_NAME = {animal.name: animal for animal in ANIMALS}
# Both were so, and were found here.
TORN_IS_NEWER = Animal(
    "torn-is-newer", "What is written after torn records may count as older than they.",
    (Patch(JOURNAL, "max(self._above, int.from_bytes(self._seen[:4], \"little\"))",
           "int.from_bytes(self._seen[:4], \"little\")"),),
)  # fmt: skip
HOLDING_ERASED = Animal(
    "holding-erased", "The sector with the only whole record may be erased behind torn ones.",
    (Patch(JOURNAL, "            if sector == self._held and sector != home:\n"
           "                continue\n", ""),),
)  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"counts": True}, {"wears": True, "replaces": False}])
def test_nothing_is_broken(options: dict[str, bool]) -> None:
    found = visit(JournalWorld(Library(), slots=2, **options), 25)
    assert found.broken == "", "\n".join(found.way)
    assert found.states == 25


def test_the_same_states_every_time() -> None:
    first, second = (visit(JournalWorld(Library(), slots=2), 8) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "name",
    [
        "delete-then-write", "truncate-in-place", "ring-of-one", "erase-both", "no-crc",
        "highest-sector-wins", "sequence-starts-again", "first-record-wins",
        "defaults-on-failed-load", "format-on-failed-load", "no-mending",
    ],
)  # fmt: skip
def test_a_broken_journal_is_found(name: str) -> None:
    with BY_NAME[name].firmware() as root:
        found = visit(JournalWorld(Library(root), slots=2), 30)
    assert found.broken
    assert found.way


class From(JournalWorld):
    """Begins with this journal."""

    def __init__(self, library: Library, slots: list[Slot]) -> None:
        super().__init__(library, slots=2, rots=False, replaces=False)
        self._start = JournalState(tuple(slots), frozenset({HOLDS, IN_HAND}))

    def starts(self) -> Iterator[JournalState]:
        yield self._start


def _torn(sequence: int) -> Wavering:
    return Wavering(frozenset({JournalRecord(sequence, IN_HAND)}) | spoiled(sequence, counts=False))


SPOILED = Spoiled("check", 3)
FOUND: list[tuple[Animal, list[Slot]]] = [
    (
        TORN_IS_NEWER,
        [_torn(7), _torn(8), BLANK, BLANK, JournalRecord(3, HOLDS), JournalRecord(4, HOLDS)],
    ),
    (
        HOLDING_ERASED,
        [JournalRecord(1, HOLDS), JournalRecord(2, HOLDS), SPOILED, SPOILED, SPOILED, SPOILED],
    ),
]


@pytest.mark.parametrize(("animal", "slots"), FOUND, ids=lambda one: getattr(one, "name", ""))
def test_what_it_found_in_our_own_is_found_again(animal: Animal, slots: list[Slot]) -> None:
    assert visit(From(Library(), slots), 12).broken == ""
    with animal.firmware() as root:
        assert visit(From(Library(root), slots), 12).broken


def test_the_command_says_whether_it_came_to_an_end() -> None:
    shown = CliRunner().invoke(campaign, ["proof", "--limit", "5", "--json"])
    assert shown.exit_code == ExitCode.OK
    told = json.loads(shown.stdout)
    assert told["states"] == 5
    assert told["closed"] is False
    with BY_NAME["no-crc"].firmware() as root:
        shown = CliRunner().invoke(campaign, ["proof", "--firmware", str(root)])
    assert shown.exit_code == ExitCode.FAILED
    assert "broken" in shown.output
