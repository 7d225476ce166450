"""The same seed gives the same trace, flash and frames: run after run, beside a busy neighbour, and
under every other Python of this machine."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[3]
RUN = """
import hashlib, json, sys
from tallystick.tools.campaign.engine.explore import explore, record
from tallystick.tools.campaign.card.scenarios import REGISTRY
from tallystick.tools.campaign.card.workshop import CardWorkshop

board, seed = sys.argv[1], int(sys.argv[2])
workshop = CardWorkshop.of(board)
scenario = REGISTRY["press"]
rig = workshop.rig(scenario.start)
frames = hashlib.sha256()
look = rig.look
def looked():
    frames.update(bytes(rig.card.display.pixels))
    return look()
rig.look = looked
recorded = record(workshop, rig, scenario, seed)
traces = hashlib.sha256(rig.card.trace.json_lines().encode())
flash = hashlib.sha256(bytes(rig.card.flash.memory))
for node in recorded.nodes[:: max(1, len(recorded.nodes) // 12)]:
    explore(workshop, rig, node, scenario, seed, deeper=0)
    traces.update(rig.card.trace.json_lines().encode())
    flash.update(bytes(rig.card.flash.memory))
rig.close()
print(json.dumps([traces.hexdigest(), flash.hexdigest(), frames.hexdigest()]))
"""


def hashes(board: str, seed: int, python: str = sys.executable) -> list[str]:
    command = [python, "-c", RUN, board, str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: list[str] = json.loads(result.stdout)
    return found


def _burn() -> None:
    while True:
        sum(range(10_000))


@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
def test_runs_are_equal_also_under_load(board: str) -> None:
    first = hashes(board, 1)
    context = multiprocessing.get_context("spawn")
    neighbour = context.Process(target=_burn, daemon=True)
    neighbour.start()
    try:
        assert hashes(board, 1) == first
    finally:
        neighbour.terminate()
        neighbour.join()
    assert hashes(board, 2) != first


@needs.other_pythons.mark
@pytest.mark.parametrize("board", ["pico", "nucleo_l476rg"])
def test_other_pythons_give_the_same(board: str) -> None:
    expected = hashes(board, 1)
    for python in sorted(needs.OTHER_PYTHONS.glob("3.*/bin/python")):
        assert hashes(board, 1, str(python)) == expected, python
