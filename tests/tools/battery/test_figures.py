"""The figures of docs/findings/battery.md are those that the model computes with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tallystick.emulator.boards import find
from tallystick.emulator.parts.cells import CELLS
from tallystick.emulator.parts.coin_cell import ROOM_C, CoinCell
from tallystick.tools.battery.report import SPREAD

PAGE = Path(__file__).parents[3] / "docs/findings/battery.md"
BOARD = find("nucleo_l476rg")
CURRENTS = BOARD.currents
FLASH = BOARD.flash_timing
FIGURES = {
    ("chip", "running, 26 MHz, range 2"): ("chip", CURRENTS.run),
    ("chip", "waiting, clocks on"): ("chip", CURRENTS.idle),
    ("chip", "light sleep"): ("chip", CURRENTS.light_sleep),
    ("chip", "deep sleep"): ("chip asleep", CURRENTS.deep_sleep),
    ("flash", "program, erase"): ("flash", FLASH.program_ua),
    ("display", "image up"): ("display", None),
    ("display", "lines being sent"): ("display", None),
    ("button", "down"): ("button", CURRENTS.button),
    ("leakage", "always"): ("leakage", CURRENTS.leakage),
}


def rows(columns: int) -> list[list[str]]:
    lines = (line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines())
    return [[cell.strip() for cell in line] for line in lines if len(line) == columns]


def microampere(text: str) -> float:
    number, unit = re.match(r"([\d.]+) (µA|mA)", text).groups()
    return float(number) * (1000 if unit == "mA" else 1)


def test_currents_and_spreads_are_those_of_the_board_and_of_the_band():
    table = {(row[0], row[1]): row for row in rows(5)}
    assert set(FIGURES) <= set(table)
    for key, (part, current) in FIGURES.items():
        _, _, figure, _, spread = table[key]
        if current is not None:
            assert microampere(figure) == pytest.approx(current), key
        if spread == "as above":
            continue
        ends = [int(end) / 100 for end in re.findall(r"\d+", spread)]
        assert tuple(ends * (2 if len(ends) == 1 else 1)) == SPREAD[part], key
    assert FLASH.program_ua == FLASH.erase_ua


def test_cells_are_those_of_the_table():
    for row in rows(5):
        cell = CELLS.get(row[0].split()[0])
        if cell is None:
            continue
        ohms = [cell.resistance_ohm[0][1], cell.resistance_ohm[-1][1]]
        assert [float(one) for one in re.findall(r"[\d.]+", row[4])] == ohms
        assert float(row[1].removesuffix(" mAh")) == cell.capacity_mah
        assert float(row[2].removesuffix(" %")) == pytest.approx(100 * cell.tolerance)
        assert float(row[3].split()[0]) == pytest.approx(100 * cell.self_discharge_per_year)
    assert {row[0].split()[0] for row in rows(5)} >= set(CELLS)


@pytest.mark.parametrize("name", CELLS)
def test_voltage_and_resistance_are_those_of_the_cell_that_was_measured(name):
    """2.94 V at a tenth of the depth; of a CR2032 27 Ω at nine tenths."""
    cell = CoinCell(CELLS[name], ROOM_C)
    cell.set_depth(0.1)
    assert cell.open_circuit_mv() == pytest.approx(2940)
    cell.set_depth(0.9)
    if name == "CR2032":
        assert cell.resistance_ohm() == pytest.approx(27)
