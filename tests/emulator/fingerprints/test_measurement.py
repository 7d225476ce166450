"""The measurement of error rates: intervals against published values, resuming, the command."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tallystick.emulator.fingerprints.levels import FALSE_MATCH_RATES, THRESHOLDS
from tallystick.tools.fingerprints import measurement, population
from tallystick.tools.fingerprints.cli import SUMMARY, fingerprints
from tallystick.tools.fingerprints.measurement import TrialPlan, run
from tallystick.tools.fingerprints.statistics import cluster_interval, exact_interval
from tallystick.tools.fingerprints.summary import summarise

PLAN = TrialPlan(first_seed=50, fingers=3, logins=1, probes=1)


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # 1 - 0.025 ** (1 / 10)
        (10, 10, 0.6915, 1.0),
        (4, 20, 0.0573, 0.4366),  # Clopper and Pearson, 1934: 0.06 and 0.44 off their chart
        (1, 2, 0.0126, 0.9874),
        (0, 0, 0.0, 1.0),
    ],
)
def test_exact_interval(events, trials, low, high):
    assert exact_interval(events, trials) == pytest.approx((low, high), abs=5e-4)


def test_fingers_that_err_together_widen_the_interval():
    spread = cluster_interval([1] * 20 + [0] * 20, [10] * 40)
    lumped = cluster_interval([10] * 2 + [0] * 38, [10] * 40)
    assert lumped[1] - lumped[0] > 2 * (spread[1] - spread[0])


class TestRun:
    def test_goes_on_where_it_was(self, tmp_path, monkeypatch):
        whole = run(PLAN, tmp_path / "whole", lambda *_: None)

        def stop(stage, done):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(PLAN, tmp_path / "parts", stop)
        (partial,) = (tmp_path / "parts").iterdir()
        partial.write_bytes(partial.read_bytes() + b'{"torn')  # killed while it wrote
        seen = []
        calls = []
        observe = population.observe
        monkeypatch.setattr(
            measurement, "observe", lambda seed, *rest: calls.append(seed) or observe(seed, *rest)
        )
        again = run(PLAN, tmp_path / "parts", lambda *step: seen.append(step))
        assert calls == [51, 52]
        assert seen == [("fingers", 2), ("fingers", 3)] + [("impostors", k) for k in (1, 2, 3)]
        assert again == whole
        assert run(PLAN, tmp_path / "parts", stop) == whole  # nothing left to do

    def test_summary_counts_every_pair(self, tmp_path):
        result = summarise(PLAN, run(PLAN, tmp_path, lambda *_: None))
        assert result["impostor_pairs"] == sum(result["impostor_scores"].values())
        assert result["impostor_pairs"] <= 3 * 2
        assert result["log_ins"] == 3
        assert json.loads(json.dumps(result)) == result
        falling = [point[1] for point in result["curve"]]
        assert falling == sorted(falling, reverse=True)


class TestCommand:
    def test_show(self, tmp_path):
        result = CliRunner().invoke(fingerprints, ["show"], catch_exceptions=False)
        assert result.exit_code == 0
        assert "impostor pairs" in result.output
        plot = tmp_path / "det.png"
        result = CliRunner().invoke(
            fingerprints, ["show", "--json", "--plot", str(plot)], catch_exceptions=False
        )
        assert json.loads(result.output)["levels"][2]["level"] == 3
        assert plot.read_bytes().startswith(b"\x89PNG")

    def test_draw(self, tmp_path):
        path = tmp_path / "sheet.png"
        result = CliRunner().invoke(fingerprints, ["draw", "left-ring", "--to", str(path)])
        assert result.exit_code == 0
        assert path.read_bytes().startswith(b"\x89PNG")

    def test_measure(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        arguments = ["measure", "--fingers", "2", "--logins", "1", "--probes", "1", "--json"]
        result = CliRunner().invoke(fingerprints, arguments, catch_exceptions=False)
        assert json.loads(result.output)["fingers"] == 2


class TestPublishedFigures:
    """What docs/findings/fingerprints.md promises, held to the committed measurement."""

    @pytest.fixture
    def result(self):
        return json.loads(SUMMARY.read_text())

    def test_thresholds_are_those_that_were_measured(self, result):
        assert {level["level"]: level["threshold"] for level in result["levels"]} == THRESHOLDS

    def test_the_aim_of_issue_and_product(self, result):
        (usual,) = (level for level in result["levels"] if level["level"] == 3)
        assert result["impostor_pairs"] >= 300_000
        assert usual["false_match"]["exact"][1] <= 1e-4
        assert usual["false_match"]["by_finger"][1] <= 1e-4
        assert usual["refused_three_tries"]["exact"][1] <= 0.03
        assert usual["refused_three_tries"]["by_finger"][1] <= 0.03

    def test_levels_keep_their_aims(self, result):
        for level in result["levels"]:
            assert level["false_match"]["rate"] <= FALSE_MATCH_RATES[level["level"]]
