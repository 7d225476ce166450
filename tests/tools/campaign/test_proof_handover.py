"""The proof of the journal is proved: each rule of the handover, dropped or turned round, is found
broken. (Three are not found, and stay: the sector behind is erased before the copy and first, and
flags backwards. They are for records that rot, and for a worn-out sector.)"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.proof.journal import (
    BLANK,
    HOLDS,
    OLD,
    ZEROS,
    JournalRecord,
    JournalState,
    JournalWorld,
    Slot,
)
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.search import visit

_HANDOVER, _JOURNAL = "lib/handover.py", "lib/journal.py"
_COPY = "            and _copy(journal, target, state)\n"
_FINISH = "            and _finish(journal, flag)\n"
_OTHERS = "        _clear_others(journal, kept)\n"
_SEAL = "        journal.append(state)\n        _clear(journal, _behind(journal, kept))\n"
_CLEAR = "        _clear(journal, (kept + step) % journal.sectors)\n"

# name, file, as it is, as it is not to be
MUTANTS = [
    ("target-not-erased", _HANDOVER, "            and _clear(journal, target)\n", ""),
    ("junk-flags-stay", _HANDOVER, "        _clear_flags(journal, held)\n", ""),
    ("zeros-before-copy", _HANDOVER, _COPY + _FINISH, _FINISH + _COPY),
    ("no-zeros", _HANDOVER, _FINISH, ""),
    (
        "zeros-not-believed",
        _HANDOVER,
        "        if copied and first > finished and ",
        "        if False and ",
    ),
    (
        "zeros-not-made-certain",
        _HANDOVER,
        "        _finish(journal, _behind(journal, journal.moved))\n",
        "",
    ),
    (
        "others-forwards",
        _HANDOVER,
        "    for step in range(journal.sectors - 1, 1, -1):\n",
        "    for step in range(2, journal.sectors):\n",
    ),
    (
        "blank-ones-skipped",
        _HANDOVER,
        _CLEAR,
        "        one = (kept + step) % journal.sectors\n"
        "        if journal.last_written(one) >= 0:\n            _clear(journal, one)\n",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one[0])
def test_a_broken_handover_is_found(mutant: tuple[str, str, str, str]) -> None:
    name, file, old, new = mutant
    with Animal(name, name, (Patch(file, old, new),)).firmware() as root:
        world = JournalWorld(Library(root), rots=False, replaces=False, leaps=True)
        found = visit(world, 100)
    assert found.broken
    assert found.way


class _Worn(JournalWorld):
    """In service, with this in flash, and this sector worn out."""

    def __init__(self, library: Library, slots: list[Slot], worn: int) -> None:
        super().__init__(library, rots=False, replaces=False)
        self._start = JournalState(tuple(slots), frozenset({HOLDS}), worn=worn)

    def starts(self) -> Iterator[JournalState]:
        yield self._start


_OF_BEFORE = [JournalRecord(1026, OLD), JournalRecord(1027, OLD)]
_COPIES = [JournalRecord(2048, HOLDS), JournalRecord(2049, HOLDS)]
_OLD_COPIES = [JournalRecord(2048, OLD), JournalRecord(2049, OLD)]
_NO: list[Slot] = [BLANK, BLANK]
WORN: list[tuple[str, str, str, list[Slot], int]] = [
    (
        "not-sealed",
        _SEAL,
        _SEAL.split("\n", 1)[1],
        [*_OF_BEFORE, *_COPIES, *_NO, *_NO, *_NO],
        0,
    ),
    (
        "zeros-for-ever",
        " and newest <= _numbers(journal, journal.moved)[1]",
        "",
        [*_NO, *_OLD_COPIES, ZEROS, BLANK, JournalRecord(2050, HOLDS), BLANK, *_NO],
        2,
    ),
]


@pytest.mark.parametrize("mutant", WORN, ids=lambda one: one[0])
def test_what_a_worn_sector_keeps_does_not_come_back(
    mutant: tuple[str, str, str, list[Slot], int],
) -> None:
    name, old, new, slots, worn = mutant
    assert visit(_Worn(Library(), slots, worn), 4).broken == ""
    with Animal(name, name, (Patch(_HANDOVER, old, new),)).firmware() as root:
        assert visit(_Worn(Library(root), slots, worn), 4).broken
