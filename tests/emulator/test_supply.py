"""What the parts draw, summed up, and taken from the cell."""

from __future__ import annotations

from typing import Any

import pytest

from tallystick.emulator.parts.supply import Supply

HOUR_US = 3_600_000_000


class Cell:
    """Falls by one mV for each µA, and lists what is drawn."""

    def __init__(self, mv: int = 3000) -> None:
        self.mv, self.revision, self.capacity_uah = mv, 0, 200_000.0
        self.drawn: list[tuple[float, int]] = []
        self.asked: list[float] = []

    def voltage_mv(self, ua: float) -> int:
        self.asked.append(ua)
        return self.mv - int(ua)

    def draw(self, uah: float, us: int) -> None:
        self.drawn.append((uah, us))


@pytest.fixture
def cell() -> Any:
    return Cell()


@pytest.fixture
def supply(cell: Any) -> Supply:
    return Supply(cell, ["chip", "flash"])


def test_what_a_new_one_is(supply: Supply) -> None:
    assert supply.docked is False and supply.listener is None and supply.bounces == set()
    assert supply.names == ["chip", "flash"]
    assert supply.currents_ua() == [0.0, 0.0] and supply.current_ua() == 0.0
    assert supply.used_uah == {"chip": 0.0, "flash": 0.0}


def test_each_part_is_charged_with_its_own(cell: Any, supply: Supply) -> None:
    chip, flash = supply.load("chip"), supply.load("flash")
    supply.draw(HOUR_US)  # nothing is on yet
    chip(10.0)
    supply.draw(2 * HOUR_US)
    flash(100.0)
    flash(100.0)
    supply.draw(HOUR_US)
    chip(0.0)
    supply.draw(3 * HOUR_US)
    assert supply.used_uah == pytest.approx({"chip": 30.0, "flash": 400.0})
    assert supply.currents_ua() == [0.0, 100.0] and supply.current_ua() == 100.0
    assert supply.currents_ua() is not supply.currents_ua()
    supply.settle()
    ((uah, us),) = cell.drawn
    assert uah == pytest.approx(430.0) and us == 7 * HOUR_US


def test_the_cell_is_brought_up_to_date_once(cell: Any, supply: Supply) -> None:
    supply.settle()
    assert cell.drawn == []
    supply.load("chip")(10.0)
    supply.draw(HOUR_US)
    supply.settle()
    supply.settle()
    supply.draw(HOUR_US)
    assert cell.drawn == [(10.0, HOUR_US)]
    supply.load("chip")(30.0)
    supply.draw(HOUR_US)
    assert supply.voltage_mv() == 2970
    assert cell.drawn == [(10.0, HOUR_US), (40.0, 2 * HOUR_US)]
    assert cell.asked == [30.0]
    supply.draw(HOUR_US)
    supply.settle()
    assert cell.drawn[2:] == [(30.0, HOUR_US)]  # what was taken is not taken again


def test_an_empty_cell_holds_nothing(cell: Any, supply: Supply) -> None:
    cell.mv = 0
    assert not supply.holds(1)


def test_on_a_dock_the_cell_is_spared(cell: Any, supply: Supply) -> None:
    supply.load("chip")(10.0)
    supply.docked = True
    supply.draw(HOUR_US)
    supply.settle()
    assert cell.drawn == [] and supply.used_uah["chip"] == 0.0
    supply.docked = False
    supply.draw(1)
    supply.settle()
    assert cell.drawn == [(10.0 / HOUR_US, 1)]


def test_who_listens_hears_every_stretch_before_it_is_drawn(supply: Supply) -> None:
    heard: list[tuple[int, list[float], float]] = []
    supply.listener = lambda us, ua: heard.append((us, ua, supply.used_uah["flash"]))
    flash = supply.load("flash")
    flash(5.0)
    supply.draw(HOUR_US)
    flash(0.0)
    supply.docked = True
    supply.draw(7)
    assert heard == [(HOUR_US, [0.0, 5.0], 0.0), (7, [0.0, 0.0], 5.0)]


@pytest.mark.parametrize(("mv", "limit", "held"), [(2000, 2000, True), (2000, 2001, False)])
def test_a_limit_is_held_at_itself(
    cell: Any, supply: Supply, mv: int, limit: int, held: bool
) -> None:
    cell.mv = mv
    assert supply.holds(limit) is held
    assert supply.holds(limit) is held
    assert len(cell.asked) == 2  # so near to it, it is worked out each time


def test_what_was_clear_a_moment_ago_is_not_worked_out_again(cell: Any, supply: Supply) -> None:
    chip = supply.load("chip")
    chip(100.0)
    cell.mv = 2250
    assert supply.holds(2000)  # 150 mV above it, under the load
    lasts = 3_600_000_000  # 0.0005 of 200 mAh at 100 µA: an hour
    cell.mv = 0
    supply.draw(lasts)
    assert supply.holds(2000) and len(cell.asked) == 1
    supply.draw(1)
    assert not supply.holds(2000)


@pytest.mark.parametrize("change", ["load", "limit", "cell", "less load", "nearer"])
def test_what_makes_it_unclear(cell: Any, supply: Supply, change: str) -> None:
    chip = supply.load("chip")
    chip(100.0)
    cell.mv = 2250 - (change == "nearer")
    assert supply.holds(2000)
    cell.mv = 2101
    if change == "load":
        chip(100.5)
    elif change == "less load":
        chip(99.0)
    elif change == "cell":
        cell.revision += 1
    supply.holds(2001 if change == "limit" else 2000)
    assert len(cell.asked) == (1 if change == "less load" else 2)


def test_without_a_load_it_is_as_with_one_microampere(cell: Any, supply: Supply) -> None:
    assert supply.holds(2000)
    cell.mv = 0
    supply.draw(100 * HOUR_US)
    assert supply.holds(2000)
    supply.draw(1)
    assert not supply.holds(2000)
