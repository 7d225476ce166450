"""Every path of every device works within its board's heap, and within what was committed."""

from __future__ import annotations

from functools import partial

import pytest

from tallystick.emulator.boards import ALL, BOARDS, READERS
from tallystick.tools.fresh import one_core
from tallystick.tools.heap import card_paths, measure, reader_paths
from tallystick.tools.heap.measure import smallest
from tallystick.tools.image.heap import KIB, figures
from tests.tools.committed_heap import holds

# KiB. Where bytecode is executed out of flash, and where it is copied into RAM first.
LIMITS = {"nucleo_l476rg": 64, "pico": 72, "pico2_card": 72, "pico2": 140}
CASES = [(board, path) for board in BOARDS for path in card_paths.PATHS]
CASES += [(board, path) for board in READERS for path in reader_paths.PATHS]


@pytest.fixture(scope="module")
def home():
    with one_core(), card_paths.home() as made:
        yield made


@pytest.mark.parametrize(("name", "path"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_a_path_works_with_what_was_committed(home, name, path):
    """`python -m tallystick.tools.heap.measure` writes the figures anew: growth is a decision."""
    board = ALL[name]
    assert board.heap == LIMITS[name] * KIB
    kept = figures().get(name, {})
    assert path in kept, "not measured yet: python -m tallystick.tools.heap.measure"
    committed = kept[path]
    assert committed * KIB <= board.heap
    holds(measure.paths(board, home)[path], committed, board.heap)


@pytest.mark.parametrize("less", [0, 1, 3, 5, 8])
def test_no_size_near_the_readers_own_is_unlucky(home, less):
    """Where garbage lies decides whether a long piece finds room: it failed with 140 and 136 KiB
    where it worked with 139 and 132."""
    board = READERS["pico2"]
    works = measure.paths(board, home)["everything and an update"]
    assert works(board.heap - less * KIB)


def test_a_heap_that_is_too_small_is_found(home):
    """The probe can say no: a card that has run out of memory does not follow its path."""
    path = "everything in one docking"
    works = measure.paths(BOARDS["pico"], home)[path]
    assert not works((figures()["pico"][path] - 8) * KIB)


def test_every_figure_is_of_a_path_there_is():
    kept = {(name, path) for name, paths in figures().items() for path in paths}
    assert kept == set(CASES)


@pytest.mark.parametrize("need", [16, 17, 40, 64, 127])
def test_the_search_finds_the_smallest(need):
    asked = []

    def works(size, least):
        asked.append(size)
        return size >= least * KIB

    assert smallest(partial(works, least=need), 64) == need
    assert len(asked) <= 15


@pytest.mark.parametrize("bad", [45, 50])
def test_a_size_that_was_lucky_is_not_the_need(bad):
    """Garbage lies differently: 44 may do where 45 does not."""

    def works(size):
        return size >= 44 * KIB and size != bad * KIB

    assert smallest(works, 64) == bad + 1
