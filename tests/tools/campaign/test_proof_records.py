"""The reader's records on a few small sectors, for any number of cuts in a row."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.proof.library import Library
from tallystick.tools.campaign.proof.records import RecordsWorld
from tallystick.tools.campaign.proof.search import visit
from tallystick.tools.campaign.reader.animals import ANIMALS

BY_NAME = {animal.name: animal for animal in ANIMALS}


@pytest.mark.parametrize("options", [{"keys": 2}, {"restarts": True}, {"sectors": 3}])
def test_nothing_is_broken_in_a_sample(options: dict[str, int]) -> None:
    found = visit(RecordsWorld(Library(), **options), 8)
    assert found.broken == "", "\n".join(found.way)
    assert found.states == 8


def test_three_sectors_of_two_pages_come_to_an_end() -> None:
    found = visit(RecordsWorld(Library(), sectors=3, slots=2, reserve=1))
    assert (found.closed, found.broken) == (True, ""), "\n".join(found.way)
    assert found.states == 580


@pytest.mark.parametrize(("sectors", "slots"), [(2, 2), (2, 3), (3, 1)])
def test_states_that_are_taken_for_one_go_on_alike(sectors: int, slots: int) -> None:
    """The same without what is known of the library, and with every state visited."""
    options = {"sectors": sectors, "slots": slots, "reserve": 1}
    short = visit(RecordsWorld(Library(), **options))
    whole = visit(RecordsWorld(Library(), **options, exact=True), covering=False)
    for found in (short, whole):
        assert (found.closed, found.broken) == (True, ""), "\n".join(found.way)
    assert short.states < whole.states


def test_the_same_states_every_time() -> None:
    first, second = (visit(RecordsWorld(Library()), 6) for _ in range(2))
    assert first == second


OURS = [
    ("no-copy", "        page = self._copy(self._newest)\n", "        page = self._newest\n"),
    ("nothing-ahead", "_AHEAD = const(3)  #", "_AHEAD = const(0)  #"),
]


@pytest.mark.parametrize(("name", "old", "new"), OURS, ids=[one[0] for one in OURS])
def test_a_fault_of_our_own_is_found(name: str, old: str, new: str) -> None:
    with Animal(name, name, (Patch("lib/records.py", old, new),)).firmware() as root:
        world = RecordsWorld(Library(root), sectors=3, slots=2, reserve=1)
        assert "is read; it may be" in visit(world, 400).broken


ROOMY = {"sectors": 4, "slots": 3, "reserve": 2, "fills": False, "cuts": False}


def test_a_ring_that_is_not_cut_has_room() -> None:
    """Three sectors are too few for that: there lives end for want of room."""
    found = visit(RecordsWorld(Library(), **ROOMY))
    assert (found.closed, found.broken) == (True, ""), "\n".join(found.way)
    assert visit(RecordsWorld(Library(), **{**ROOMY, "sectors": 3, "reserve": 1})).broken


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("            self._flash.erase(sector)\n", "            pass\n"),
        ("_MOVES = const(2)", "_MOVES = const(0)"),
    ],
)
def test_who_gives_no_sector_back_is_found(old: str, new: str) -> None:
    with Animal("full", "Full.", (Patch("lib/records.py", old, new),)).firmware() as root:
        assert visit(RecordsWorld(Library(root), **ROOMY)).broken == "no page takes a record"


RESTARTS = {"sectors": 4, "slots": 2, "reserve": 2, "keys": 2, "restarts": True}


@pytest.mark.parametrize("name", ["reader-no-floor", "reader-erase-then-new"])
def test_a_broken_restart_is_found(name: str) -> None:
    assert visit(RecordsWorld(Library(), **RESTARTS), 8).broken == ""
    with BY_NAME[name].firmware() as root:
        assert "is read; it may be" in visit(RecordsWorld(Library(root), **RESTARTS), 8).broken


def test_a_restart_needs_room_ahead() -> None:
    """Found here, and written down: with fewer than four free sectors what `settle` makes void, or
    what is erased next, may be the old records, while a restart that was cut still wavers."""
    found = visit(RecordsWorld(Library(), sectors=3, slots=2, reserve=1, restarts=True), 300)
    assert found.broken == "(0,) is read; it may be (1,) or (2,)"


@pytest.mark.parametrize("name", ["reader-no-crc", "reader-no-settling", "reader-nothing-moves"])
def test_broken_records_are_found(name: str) -> None:
    with BY_NAME[name].firmware() as root:
        found = visit(RecordsWorld(Library(root)), 40)
    assert found.broken
    assert found.way


def test_a_full_store_is_told_apart() -> None:
    """Out of which cuts in a row have left no sector; a violation when it is asked for."""
    world = RecordsWorld(Library(), sectors=2, slots=2, reserve=1)
    visit(world)
    assert world.full
    strict = RecordsWorld(Library(), sectors=2, slots=2, reserve=1, fills=False)
    assert visit(strict).broken == "no page takes a record"


def test_a_reader_at_its_beginning_may_say_that_it_is_damaged() -> None:
    """Found here, and written down: its second write is cut, then the erase of a first start that
    begins anew, then what makes solid. A cut that reads otherwise at each start has to be in it."""
    found = visit(RecordsWorld(Library(), sectors=2, slots=3, reserve=0, new=True), 60)
    assert found.broken == "nothing can be read any more"
    assert len(found.way) == 4


def test_the_command_says_what_it_came_to() -> None:
    shown = CliRunner().invoke(campaign, ["proof", "--of", "records", "--limit", "3", "--json"])
    assert shown.exit_code == ExitCode.OK
    told = json.loads(shown.stdout)
    assert (told["states"], told["closed"]) == (3, False)
    assert told["full"] >= 0
    shown = CliRunner().invoke(campaign, ["proof", "--of", "records", "--wears"])
    assert isinstance(shown.exception, BadInputError)
