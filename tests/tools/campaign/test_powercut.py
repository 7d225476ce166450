"""The campaign: all clean cuts and a seeded sample of torn ones; `make campaign` does all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.common.errors import ExitCode
from tallystick.tools.campaign.card import scenarios
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands import powercut
from tallystick.tools.campaign.commands.replay import Replay
from tallystick.tools.campaign.engine.animal import Animal, Patch
from tallystick.tools.campaign.engine.campaign import Campaign, CampaignPlan, Progress


@pytest.mark.campaign
@pytest.mark.slow
def test_no_cut_of_a_recovery_hurts(pico: CardWorkshop) -> None:
    plan = CampaignPlan(
        "pico", ("press", "wipe-and-reseed"), depth=3, sample=0.05, deeper=60, third=20
    )
    result = Campaign(plan, pico).run(0)
    assert result.violations == []
    assert result.distinct_states > 100


def test_the_same_seed_gives_the_same_campaign(pico: CardWorkshop) -> None:
    plan = CampaignPlan("pico", ("press",), depth=1, sample=0.05, seed=7)
    first, second = (Campaign(plan, pico) for _ in range(2))
    one, two = first.run(0), second.run(0)
    assert first._seen == second._seen
    assert one.scenarios == two.scenarios
    assert Campaign(CampaignPlan("pico", ("press",), 1, 8, 0.05), pico).run(0).cuts > 0


_WILD = Animal(
    "wild-write",
    "Where a record is spoiled, a write goes to an address that is nobody's.",
    (
        Patch(
            "lib/journal.py",
            "        bits = 0\n        while wrong:\n",
            "        from uctypes import bytearray_at\n"
            "        bytearray_at(1 << 40, 4)[0] = 1\n"
            "        bits = 0\n        while wrong:\n",
        ),
    ),
)


def test_a_firmware_that_crashes_micropython_is_caught_and_ends_nothing() -> None:
    """It takes a worker's process with it. Its states are a violation each, the others none."""
    with _WILD.firmware() as root:
        result = Campaign(
            CampaignPlan("pico", ("press",), sample=0.3, depth=1), CardWorkshop.of("pico", root)
        ).run(1)
    kinds = {violation["kind"] for violation in result.violations}
    assert kinds == {"crash"}
    assert not result.stopped
    assert len(result.violations) < result.distinct_states
    assert all("MicroPython ended" in violation["what"] for violation in result.violations)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.parametrize(("board", "sample"), [("pico", "0.1"), ("nucleo_l476rg", "0.1")])
def test_every_call_that_changes_flash_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str, sample: str
) -> None:
    """All scenarios, every clean cut; the sample has a torn one of every call."""
    monkeypatch.chdir(tmp_path)
    arguments = ["powercut", "--board", board, "--depth", "1", "--sample", sample, "--json"]
    result = CliRunner().invoke(campaign, arguments)
    assert result.exit_code == ExitCode.OK, result.output
    report = json.loads(result.stdout)
    assert {
        "scenarios", "cuts", "distinct_states", "violations", "states_per_second", "uncut_sites",
    } <= set(report)  # fmt: skip
    assert report["uncut_sites"] == []
    assert report["violations"] == []
    assert report["sites"] > 20
    assert set(report["scenarios"]) >= {f"{board} {name}" for name in scenarios.REGISTRY}
    for scenario in report["scenarios"].values():
        assert scenario["operations"] > 0
    assert report["distinct_states"] <= report["cuts"]


def test_told_to_end_it_reports_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(_self: Progress, done: int, _total: int, _rate: float) -> None:
        if done >= 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(powercut._Shown, "at", at)
    monkeypatch.chdir(tmp_path)
    arguments = ["powercut", "--board", "pico", "--scenario", "press", "--jobs", "1", "--json"]
    result = CliRunner().invoke(campaign, arguments)
    assert (powercut.RECORDS / "powercut-pico.jsonl").is_file()
    assert result.exit_code == ExitCode.INTERRUPTED
    report = json.loads(result.stdout)
    assert report["violations"] == [] and report["distinct_states"] >= 5


def test_a_part_of_the_scenarios_cannot_cut_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "powercut",
        "--board",
        "pico",
        "--scenario",
        "press",
        "--sample",
        "0",
        "--depth",
        "1",
    ]
    result = CliRunner().invoke(campaign, arguments)
    assert result.exit_code == 0
    assert "calls that change flash are not cut by these scenarios" in " ".join(
        result.output.split()
    )
    assert "uncut:" not in result.output
    assert "0 violations" in result.output


def test_an_unknown_scenario_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(campaign, ["powercut", "--scenario", "nothing"])
    assert result.exit_code != 0


@pytest.mark.parametrize("bits", ["r2.7", "r2.14"])
def test_a_first_record_whose_age_has_rotted_is_jumped_over(pico: CardWorkshop, bits: str) -> None:
    """Two bits of it, one in its number: the code before was shown again once."""
    one = Replay(pico, f"pico/press-at-wrap/1/5{bits}")
    try:
        result = one.go()
    finally:
        one.close()
    assert result.kind == "", result.verdict
