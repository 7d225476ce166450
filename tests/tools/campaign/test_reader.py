"""Power cuts in every command of the reader that changes its state: all clean ones and a seeded
sample of torn ones; `make campaign` does all."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands.replay import Replay
from tallystick.tools.campaign.commands.subjects import find
from tallystick.tools.campaign.engine.campaign import Campaign, CampaignPlan
from tallystick.tools.campaign.engine.explore import record
from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.campaign.reader.oracle import KnownReader, ReaderOracle, ReaderState, Tries
from tallystick.tools.campaign.reader.scenarios import REGISTRY
from tallystick.tools.campaign.reader.workshop import ReaderWorkshop


@cache
def _workshop() -> ReaderWorkshop:
    return ReaderWorkshop.of("pico2")


@pytest.mark.campaign
@pytest.mark.parametrize("name", REGISTRY)
def test_no_cut_hurts(name: str) -> None:
    result = Campaign(CampaignPlan("pico2", (name,), depth=1, sample=0.01), _workshop()).run(0)
    assert result.violations == []
    nothing_written = name == "reader-enrol-full"  # the sensor refuses
    assert (result.scenarios[name]["operations"] == 0) == nothing_written


@pytest.mark.campaign
def test_no_cut_of_a_recovery_hurts() -> None:
    plan = CampaignPlan("pico2", ("reader-reset-goes-on",), depth=2, sample=0.0, deeper=15)
    result = Campaign(plan, _workshop()).run(0)
    assert result.violations == []
    assert result.cuts > 20


def test_a_scenario_is_the_same_in_every_run() -> None:
    """Otherwise a cut's line could not be replayed, and another reader would be compared."""
    subject = _workshop()
    scenario = subject.scenario("reader-register")
    rigs = [subject.rig(scenario.start) for _ in range(2)]
    first, second = (record(subject, rig, scenario, 1) for rig in rigs)
    for rig in rigs:
        rig.close()
    assert [node.digest for node in first.nodes] == [node.digest for node in second.nodes]


def test_a_line_is_replayed() -> None:
    replay = Replay(_workshop(), "pico2/reader-right-pin/1/0p64")
    try:
        result = replay.go()
    finally:
        replay.close()
    assert result.kind == ""
    assert result.fault == "p64: cut during"
    assert any("flash" in line for line in result.trace)
    assert result.reached_in_ms < 1000


@pytest.mark.parametrize(
    "line",
    [
        # A first start cut in its first record, and again in what makes that solid.
        "reader-first-start/1/1xz39.4/2xm75.17",
        "reader-first-start/1/1xz39.4/0nm3.4",
        "reader-first-start/1/1xz39.4/1xm75.17",
        # Its first sector is worn out, and it is cut in the second one.
        "reader-first-start/1/1f/2p64",
        # That sector could be erased and took no record; a cut in the second sector, and one in
        # what makes the record there solid.
        "reader-first-start/1/0f/6nz/2b",
        "reader-first-start-worn/1/6nz/2nm3.4",
        "reader-first-start-worn/1/7f/3p128",  # and the second sector, too
        # A finger is gone by a record that changes its mind: its template must not be.
        "reader-remove-finger/1/0nz/5v378",
        "reader-reset/1/1xz66.83/1a",
    ],
)
def test_a_fault_that_was_found_does_not_come_again(line: str) -> None:
    replay = Replay(_workshop(), f"pico2/{line}")
    try:
        result = replay.go()
    finally:
        replay.close()
    assert result.kind == "", result.verdict


def test_the_command_has_the_readers_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["powercut", "--scenario", "reader-start", "--depth", "1", "--sample", "0.02"]
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(campaign, [*arguments, "--jobs", "1", "--json"])
    assert result.exit_code == ExitCode.OK, result.output
    report = json.loads(result.stdout)
    assert list(report["scenarios"]) == ["pico2 reader-start"]
    assert report["violations"] == []
    assert report["distinct_states"] == report["boards"]["pico2"]["distinct_states"] > 2
    assert any("store.py" in site for site in report["uncut_sites"]), "of the other commands"


def test_all_are_the_cards_and_the_readers() -> None:
    found = find("all")
    assert list(found) == ["pico", "nucleo_l476rg", "pico2"]
    assert [one.name for one in found["pico2"]] == list(REGISTRY)
    assert all(name.startswith("reader-") for name in REGISTRY)
    with pytest.raises(BadInputError, match="no scenario 'press' for pico2"):
        find("press", ["pico2"])


STATE = ReaderState((("clientPin", True),), (4, False), b"", True, pin="2468")
OTHER = ReaderState((("clientPin", True),), (6, False), b"", True, pin="2468")


def test_a_command_under_way_may_have_happened_or_not_and_the_first_look_decides() -> None:
    oracle = ReaderOracle(KnownReader((STATE,)))
    oracle.begin(OTHER, 0, 0, "")
    oracle.saw(options=STATE.options)
    oracle.saw(min_pin=(6, False))
    with pytest.raises(ViolationError, match="neither as before nor as after"):
        oracle.saw(min_pin=(4, False))


def test_what_was_answered_is_done() -> None:
    oracle = ReaderOracle(KnownReader((STATE,)))
    oracle.begin(OTHER, 0, 0, "")
    oracle.done(OTHER, None, None)
    with pytest.raises(ViolationError):
        oracle.saw(min_pin=(4, False))


def test_tries_are_paid_and_never_come_back() -> None:
    tries = Tries((6,), 8)
    assert tries.used(1, right=False).left == (5, 6)
    assert tries.used(0, right=True).left == (5, 6, 8)
    assert tries.used(1, right=False).seen(5).left == (5,)
    with pytest.raises(ViolationError, match="7 tries left"):
        tries.used(1, right=True).seen(7)


def test_a_signature_counter_goes_up() -> None:
    oracle = ReaderOracle(KnownReader(signatures=4))
    oracle.signed(5)
    with pytest.raises(ViolationError, match="signature 5"):
        oracle.signed(5)
