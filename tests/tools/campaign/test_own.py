"""Power cuts in somebody's own firmware, by that person's invariants."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, TallyError
from tallystick.emulator.devices.project import Project
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands.own import OwnCampaign

TRUNCATES = """
import time
try:
    n = int(open("n.txt").read())
except OSError:
    n = 0
with open("n.txt", "w") as f:
    f.write(str(n + 1))
print("n", n + 1)
time.sleep(60)
"""
RENAMES = TRUNCATES.replace('open("n.txt", "w")', 'open("n.new", "w")').replace(
    'print("n"', 'import os\nos.rename("n.new", "n.txt")\nprint("n"'
)
INVARIANTS = """
def scenario(board):
    for _ in range(2):
        board.power_off()
        board.power_on()

def check(board):
    assert board.console.split()[-2] == "n", "it did not start"
"""


@pytest.fixture
def own(tmp_path):
    def make(source, text=INVARIANTS, **how):
        (tmp_path / "main.py").write_text(source)
        (tmp_path / "board.toml").write_text('board = "pico"\n')
        (tmp_path / "inv.py").write_text(text)
        how = {"depth": 1, "sample": 0.02, "seed": 1} | how
        return OwnCampaign(Project.find(tmp_path), tmp_path / "inv.py", **how)

    return make


def test_a_file_that_is_written_in_place_is_caught_and_shown_again(own, tmp_path):
    campaign_ = own(TRUNCATES)
    result = campaign_.run()
    assert result.operations > 3 and result.violations
    worst = result.violations[0]
    assert "ValueError" in worst["what"] and "line 4" in worst["what"]
    words = ["powercut", "--firmware", str(tmp_path), "--invariants", str(tmp_path / "inv.py")]
    again = CliRunner().invoke(campaign, [*words, "--line", worst["line"], "--json"])
    assert again.exit_code == 1
    assert json.loads(again.output)["violations"] == [worst]


def test_a_file_that_is_renamed_holds_also_in_two_cuts(own):
    result = own(RENAMES, depth=2).run()
    assert result.violations == [] and result.cuts > 40


def test_the_same_seed_finds_the_same(own):
    first, second = own(TRUNCATES).run(), own(TRUNCATES).run()
    assert first.violations == second.violations and first.cuts == second.cuts


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no function scenario"), ("def scenario(b): pass", "no function check"),
     ("1/0", "ZeroDivisionError"), ("def (", "SyntaxError")],
)  # fmt: skip
def test_invariants_that_are_none(own, text, words):
    with pytest.raises(BadInputError, match=words):
        own(TRUNCATES, text)


def test_a_scenario_that_fails_by_itself_is_no_violation(own):
    with pytest.raises(TallyError, match="Without any cut"):
        own("1/0").run()


@pytest.mark.parametrize("line", ["", "x", "3", "3q", "b", "3b/", "-1b"])
def test_lines_that_are_none(own, line):
    with pytest.raises(BadInputError, match="no step"):
        own(TRUNCATES).replay(line)


def test_both_options_are_needed(tmp_path):
    words = ["powercut", "--firmware", str(tmp_path)]
    assert CliRunner().invoke(campaign, words).exit_code == 2
