"""`tally battery --firmware DIR`: somebody's own firmware on a cell."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.project import Project
from tallystick.tools.image.folder import of_project

SLEEPS = """import time
from machine import Pin, lightsleep
lamp = Pin(16, Pin.OUT)
key = Pin(15, Pin.IN, Pin.PULL_UP)
while True:
    if not key.value():
        lamp.on()
        time.sleep(1)
        lamp.off()
    lightsleep(50)
"""
LAMP = '[[part]]\nkind = "led"\nname = "lamp"\npin = 16\nma = 5\n'
KEY = '[[part]]\nkind = "button"\nname = "{}"\npin = {}\n'


@pytest.fixture
def folder(tmp_path):
    def make(source: str = SLEEPS, toml: str = LAMP + KEY.format("key", 15)):
        (tmp_path / "main.py").write_text(source)
        (tmp_path / "board.toml").write_text('board = "pico"\ncell = "CR2032"\n' + toml)
        return tmp_path

    return make


def battery(folder, *words: str):
    return CliRunner().invoke(tally, ["battery", "--firmware", str(folder), *words])


def figures(folder, *words: str):
    done = battery(folder, "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


SPAN = ("--years", "0.0002")  # not quite two hours


def test_the_buttons_of_its_board_are_pressed_and_its_parts_take_their_charge(folder):
    few = figures(folder(), *SPAN, "--presses-per-day", "24")
    many = figures(folder(), *SPAN, "--presses-per-day", "240")
    assert few["cell"] == "CR2032" and few["presses"] < many["presses"]
    # A press lights the lamp for a second: 5 mA for 1 s are 1.39 µAh.
    for one in (few, many):
        assert one["used_uah"]["part lamp"] == pytest.approx(one["presses"] * 1.39, rel=0.05)
    assert many["average_ua"] > few["average_ua"] and many["years"] < few["years"]
    assert sum(few["share"].values()) == pytest.approx(1, abs=0.001)


def test_the_sum_is_the_charge_of_the_parts_and_sets_the_years(folder):
    one = figures(folder(), *SPAN)
    used, hours = sum(one["used_uah"].values()), one["simulated_years"] * 8766
    assert one["average_ua"] == pytest.approx(used / hours, rel=0.01)
    assert one["years"] * 8766 * one["average_ua"] <= one["capacity_uah"]
    assert one["years"] * 8766 * one["average_ua"] >= 0.8 * one["capacity_uah"]
    assert not one["exhausted"] and one["limit"] == "charge, from the use so far"


def test_it_ends_when_the_cell_does(folder):
    toml = "".join(f'[[part]]\nkind = "led"\nname = "l{n}"\npin = {n}\nma = 20\n' for n in (2, 3))
    source = (
        "import time\nfrom machine import Pin\n"
        "for n in (2, 3):\n    Pin(n, Pin.OUT, value=1)\nwhile True:\n    time.sleep(60)\n"
    )
    one = figures(folder(source, toml), "--cell", "CARD25", "--years", "0.001")
    assert one["exhausted"] and one["limit"] == "charge" and one["presses"] == 0
    assert one["cell"] == "CARD25"  # wins over the file
    assert 0.2 < one["years"] * 8766 < 0.6  # 25 mAh, of which 52 mA leave not all


def test_for_people(folder):
    told = battery(folder(), *SPAN).output
    assert "on a CR2032 coin cell" in told and "part lamp" in told and "µA on average" in told
    assert "display" not in told  # what is not on the board is not in the table


def test_what_is_no_life_is_told(folder, tmp_path):
    crash = battery(folder("import time\ntime.sleep(5)\n1/0\n"), *SPAN)
    assert crash.exit_code != 0 and "ZeroDivisionError" in str(crash.exception)
    assert battery(folder(), "--plot", str(tmp_path / "x.svg")).exit_code == 2
    assert CliRunner().invoke(tally, ["battery", "--years", "0.001"]).exit_code == 2
    (tmp_path / "board.toml").write_text('cell = "AA"\n')
    assert "no cell 'AA'" in str(battery(tmp_path, *SPAN).exception)


def test_a_board_with_a_cell_is_fed_by_it_everywhere(folder):
    project = Project.find(folder())
    with Card(of_project(project), seed=1, fittings=project.fittings()) as card:
        card.power_on()
        card.run_for(60_000)
        assert card.cell.used_uah > 0 and card.cell.kind.name == "CR2032"
        card.dock()
        used = card.cell.used_uah
        card.run_for(60_000)
        assert card.cell.used_uah == used  # spared in its dock
        card.undock()
        card.set_cell_mv(1000)
        assert not card.powered
