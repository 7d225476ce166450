"""The journal on three small sectors, for any number of cuts: to the end, with two torn operations
in a row."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
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
    Read,
    Spoiled,
    spoiled,
)
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.search import Covers, visit

JOURNAL = "lib/journal.py"
BY_NAME = {animal.name: animal for animal in ANIMALS}
PLAIN = {"slots": 2, "torn": 2, "rots": False, "replaces": False}


def _fault(name: str, old: str, new: str) -> Animal:
    return Animal(name, name, (Patch(JOURNAL, old, new),))


# All of these were so, and were found here.
TORN_IS_NEWER = _fault(
    "torn-is-newer",
    'max(self._above, int.from_bytes(self._seen[:4], "little"))',
    'int.from_bytes(self._seen[:4], "little")',
)
HOLDING_ERASED = _fault(
    "holding-erased",
    "            if sector == self._held and sector != home:\n                continue\n",
    "",
)
NO_LEAP = _fault("no-leap", "                self._sequence += self._slots\n", "")
FACTORY_FROM_ZERO = _fault("factory-from-zero", "        self._sequence = self._above\n", "")
# Our own, to see what escapes.
OURS = [
    _fault("own-last-slot", "                self._next = last + 1\n            self._sequence",
           "                self._next = last\n            self._sequence"),
    _fault("first-slot-tells-age",
           "        for slot in range(self._slots):\n            self._flash.read(",
           "        for slot in range(1):\n            self._flash.read("),
    _fault("blank-needs-no-erase", "        self.erases += 1\n",
           "        self.erases += 1\n        if self._last_written(sector) < 0:\n"
           "            return True\n"),
    _fault("not-above", "                    self._above = max(self._above, torn)\n", ""),
]  # fmt: skip


@pytest.mark.parametrize(("options", "states"), [({"leaps": True}, 419), ({"torn": 1}, 354)])
def test_a_small_one_comes_to_an_end(options: dict[str, bool], states: int) -> None:
    """With `leaps` a torn record may read in every way that it may without, and more."""
    found = visit(JournalWorld(Library(), **{**PLAIN, **options}))
    assert (found.broken, found.closed) == ("", True), "\n".join(found.way)
    assert found.states == states


def test_three_torn_in_a_row_lose_the_state() -> None:
    """The bound is sharp. The way that is told leads there again."""
    world = JournalWorld(Library(), **{**PLAIN, "slots": 3, "torn": 3, "leaps": True})
    found = visit(world)
    assert found.broken == "state 3 is back; it may hold [1, 2]"
    state = next(world.starts())
    torn = []
    for step in found.way[:-1]:
        told = {world.told(what): after for what, after in world.run(state)}
        state = told[step]
        torn.append(state.torn)
    assert max(torn) == 3
    world.begin = state
    alone = visit(world, 1)
    assert (alone.broken, alone.way) == (found.broken, found.way[-1:])


def test_two_torn_in_the_first_start_lose_nothing() -> None:
    found = visit(JournalWorld(Library(), **PLAIN, new=True, leaps=True))
    assert (found.broken, found.closed) == ("", True), "\n".join(found.way)


@pytest.mark.parametrize(
    "options", [{"rots": True}, {"counts": True}, {"replaces": True}, {"torn": 0, "wears": True}]
)
def test_nothing_is_broken_in_a_sample(options: dict[str, bool]) -> None:
    found = visit(JournalWorld(Library(), **{**PLAIN, **options}), 25)
    assert found.broken == "", "\n".join(found.way)
    assert found.states == 25


def test_the_same_states_every_time() -> None:
    first, second = (visit(JournalWorld(Library(), slots=2, torn=2), 8) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("of", ["journal", "records"])
def test_the_same_states_in_every_process(of: str) -> None:
    words = ["-m", "tallystick.cli", "campaign", "proof", "--of", of, "--limit", "60", "--json"]
    told = [
        subprocess.run(
            [sys.executable, *words], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        ).stdout
        for seed in ("1", "3")
    ]  # fmt: skip
    first, second = (json.loads(one) for one in told)
    assert first["digest"] == second["digest"] and first["runs"] == second["runs"]


def test_states_that_are_left_out_are_in_wider_ones() -> None:
    """The same with every state visited, and by chance from state to state with numbers as they
    are: whatever comes up is held by a state that the search has visited."""
    options = {**PLAIN, "torn": 1, "sectors": 3}
    short, whole = (
        visit(JournalWorld(Library(), **options), covering=one) for one in (True, False)
    )
    assert (whole.broken, whole.closed) == ("", True)
    assert short.states < whole.states
    world = JournalWorld(Library(), **options)
    covers = Covers()
    came = [next(world.starts())]
    known = set(came)
    while came:
        state = came.pop()
        covers.add(*world.sets(state))
        for _, after in world.run(state):
            if after not in known:
                known.add(after)
                came.append(after)
    chance = random.Random(4)
    exact = JournalWorld(Library(), **options, ranks=False)
    exact.symbols = world.symbols
    for _ in range(30):
        state = next(exact.starts())
        for _ in range(20):
            state = chance.choice([after for _, after in exact.run(state)])
            told = world.nearest(state)
            assert told in known or covers.wider(*world.sets(told)), world.shown(told)


@pytest.mark.parametrize(
    "name",
    [
        "delete-then-write", "truncate-in-place", "ring-of-one", "erase-both", "no-crc",
        "magic-before-contents", "highest-sector-wins", "narrow-counter", "sequence-starts-again",
        "first-record-wins", "defaults-on-failed-load", "format-on-failed-load",
    ],
)  # fmt: skip
def test_a_broken_journal_is_found(name: str) -> None:
    with BY_NAME[name].firmware() as root:
        found = visit(JournalWorld(Library(root), **PLAIN), 30)
    assert found.broken
    assert found.way


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("no-mending", {"torn": 1, "rots": True}),
        ("one-attempt", {"torn": 0, "wears": True}),
        ("no-read-back", {"torn": 0, "wears": True}),
    ],
)
def test_what_takes_rot_or_wear_is_found(name: str, options: dict[str, bool]) -> None:
    with BY_NAME[name].firmware() as root:
        assert visit(JournalWorld(Library(root), **{**PLAIN, **options}), 200).broken


@pytest.mark.parametrize("animal", [NO_LEAP, *OURS], ids=lambda one: one.name)
def test_a_fault_of_our_own_is_found(animal: Animal) -> None:
    with animal.firmware() as root:
        found = visit(JournalWorld(Library(root), **{**PLAIN, "leaps": True}), 60)
    assert found.broken


def test_numbers_that_begin_anew_at_the_factory_are_found() -> None:
    with FACTORY_FROM_ZERO.firmware() as root:
        world = JournalWorld(Library(root), **PLAIN, new=True, leaps=True)
        assert visit(world, 500).broken == "taken for a journal from the factory"


def _from(library: Library, slots: list[list[Read]]) -> JournalWorld:
    world = JournalWorld(library, **PLAIN)
    cells = tuple(world.symbols.cell(slot) for slot in slots)
    world.begin = JournalState(cells, 1 << HOLDS | 1 << IN_HAND)
    return world


def _torn(sequence: int) -> list[Read]:
    return [JournalRecord(sequence, IN_HAND), *sorted(spoiled(sequence, counts=False), key=repr)]


SPOILED: list[Read] = [Spoiled("check", 3)]
FOUND: list[tuple[Animal, list[list[Read]]]] = [
    (
        TORN_IS_NEWER,
        [
            _torn(7),
            _torn(8),
            [BLANK],
            [BLANK],
            [JournalRecord(3, HOLDS)],
            [JournalRecord(4, HOLDS)],
        ],
    ),
    (
        HOLDING_ERASED,
        [[JournalRecord(1, HOLDS)], [JournalRecord(2, HOLDS)], SPOILED, SPOILED, SPOILED, SPOILED],
    ),
]


@pytest.mark.parametrize(("animal", "slots"), FOUND, ids=lambda one: getattr(one, "name", ""))
def test_what_it_found_in_our_own_is_found_again(animal: Animal, slots: list[list[Read]]) -> None:
    assert visit(_from(Library(), slots), 12).broken == ""
    with animal.firmware() as root:
        assert visit(_from(Library(root), slots), 12).broken


def test_the_command_says_whether_it_came_to_an_end() -> None:
    shown = CliRunner().invoke(campaign, ["proof", "--limit", "5", "--json"])
    assert shown.exit_code == ExitCode.OK
    told = json.loads(shown.stdout)
    assert told["states"] == 5
    assert told["closed"] is False
    assert told["assumed"]["torn"] == 2
    with BY_NAME["no-crc"].firmware() as root:
        shown = CliRunner().invoke(campaign, ["proof", "--firmware", str(root)])
    assert shown.exit_code == ExitCode.FAILED
    assert "broken" in shown.output
    shown = CliRunner().invoke(campaign, ["proof", "--any", "--torn", "1"])
    assert isinstance(shown.exception, BadInputError)
