"""`tally battery compare`: made-up traces in which one part is 20 % wrong, in every format."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.tools.battery.cli import battery
from tallystick.tools.battery.compare import START, WAKES, compare
from tallystick.tools.battery.prediction import ASLEEP, LIGHT, RUNNING, predict
from tallystick.tools.battery.traces import CurrentTrace, read_trace
from tallystick.tools.fresh import card
from tallystick.tools.personalise import personalise

FOUND_WITHIN = 0.02
PARTS = (RUNNING, LIGHT, ASLEEP, "flash", "display", "button")


@pytest.fixture(scope="module")
def prediction():
    with card("nucleo_l476rg") as device:
        device.power_on()
        personalise(device)
        device.run_for(60_000)
        return predict(device, 120)


def made_up(prediction, wrong=(), stretch=1.0, every_ms=0.01, noise_ua=0.0):
    """A trace sampled every `every_ms` whose parts are as predicted but for `wrong` (part, factor);
    everything takes `stretch` times as long."""
    factors = np.array([dict(wrong).get(part, 1.0) for part in prediction.parts])
    ua = prediction.parts_ua @ factors
    ms = np.arange(0.0, prediction.trace.ms[-1], every_ms)
    sampled = ua[np.searchsorted(prediction.trace.ms, ms, side="right") - 1]
    noise = np.random.default_rng(1).normal(0, noise_ua, len(ms)) if noise_ua else 0.0
    return CurrentTrace(ms * stretch, sampled + noise)


def factor(comparison, name):
    return next(one for one in comparison.factors if one.name == name)


def test_a_trace_as_predicted_has_nothing_off(prediction):
    found = compare(prediction, made_up(prediction))
    assert found.culprit is None
    assert found.measured_uah == pytest.approx(found.predicted_uah, rel=1e-3)
    assert {one.name for one in found.factors} == {*PARTS, START, WAKES}


@pytest.mark.parametrize("ratio", [0.8, 1.2])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("noise_ua", [0.0, 0.05])
def test_the_part_that_is_off_is_found(prediction, part, ratio, noise_ua):
    found = compare(prediction, made_up(prediction, [(part, ratio)], noise_ua=noise_ua))
    assert found.culprit is not None
    assert found.culprit.name == part
    assert found.culprit.ratio == pytest.approx(ratio, abs=FOUND_WITHIN)
    others = [one for one in found.factors if one.name != part]
    assert all(abs(one.ratio - 1) < FOUND_WITHIN for one in others), others


def test_a_chip_that_takes_longer_is_told_from_one_that_draws_more(prediction):
    found = compare(prediction, made_up(prediction, stretch=1.2))
    assert factor(found, START).ratio == pytest.approx(1.2, abs=FOUND_WITHIN)
    assert factor(found, WAKES).ratio == pytest.approx(1.2, abs=FOUND_WITHIN)
    assert factor(found, RUNNING).ratio == pytest.approx(1.0, abs=FOUND_WITHIN)


def test_a_longer_way_to_the_code_is_told_from_longer_wake_ups(prediction):
    """All before the first light sleep takes a fifth longer, and nothing after it."""
    trace = made_up(prediction)
    light = prediction.parts_ua[:, prediction.parts.index(LIGHT)] > 0
    begin = float(prediction.trace.ms[light][0])
    longer = trace.ms + 0.2 * np.minimum(trace.ms, begin + 1)
    found = compare(prediction, CurrentTrace(longer, trace.ua))
    assert factor(found, START).ratio == pytest.approx(1.2, abs=FOUND_WITHIN)
    assert factor(found, WAKES).ratio == pytest.approx(1.0, abs=FOUND_WITHIN)


FORMATS = {
    "ppk2": lambda ms, ua: (
        "Timestamp(ms),Current(uA),D0-D7",
        [f"{m:.3f},{u:.4f},00000000" for m, u in zip(ms, ua, strict=True)],
    ),
    "joulescope": lambda ms, ua: (
        "#time,current,voltage",
        [f"{m / 1e3:.6f},{u / 1e6:.12f},3.0" for m, u in zip(ms, ua, strict=True)],
    ),
    "otii": lambda ms, ua: (
        "Timestamp;Arc Main Current (A);Arc Main Voltage (V)",
        [
            f"{m / 1e3:.6f};{u / 1e6:.12f};3,0".replace(".", ",")
            for m, u in zip(ms, ua, strict=True)
        ],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_profilers_export_is_read(prediction, tmp_path, name):
    trace = made_up(prediction, [("display", 1.2)], every_ms=0.1)
    header, rows = FORMATS[name](trace.ms, trace.ua)
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    read = read_trace(path)
    assert read.ms == pytest.approx(trace.ms, abs=2e-3)
    assert read.ua == pytest.approx(trace.ua, abs=1e-3)
    done = CliRunner().invoke(battery, ["compare", str(path), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["off"] == "display"
    shown = CliRunner().invoke(battery, ["compare", str(path)])
    assert "display is off most: +2" in shown.output or "display is off most: +19." in shown.output


@pytest.mark.parametrize(
    ("header", "time_ms", "current_ua"),
    [
        ("Timestamp(ms),Current(uA)", 1.0, 1.0),
        ("time,current", 1e3, 1e6),
        ("Time (s),Current (mA)", 1e3, 1e3),
        ("Time [us],Current [nA]", 1e-3, 1e-3),
        ("Timestamp (µs),Main current (µA)", 1e-3, 1.0),
        ("Seconds time (sec),Current (amps)", 1e3, 1e6),
        ("time(ns),current(A)", 1e-6, 1e6),
    ],
)
def test_a_unit_in_the_header_counts(tmp_path, header, time_ms, current_ua):
    path = tmp_path / "trace.csv"
    path.write_text(f"{header}\n1,2\n3,4\n")
    trace = read_trace(path)
    assert list(trace.ms) == pytest.approx([1 * time_ms, 3 * time_ms])
    assert list(trace.ua) == pytest.approx([2 * current_ua, 4 * current_ua])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header"),
        ("a,b\n1,2\n", "no header"),
        ("Timestamp(ms),Current(uA)\n1,2\nx,3\n", "Line 3"),
        ("Timestamp(ms),Current(uA)\n2,2\n1,3\n", "Line 3"),
        ("Timestamp(ms),Current(uA)\n1,2\n", "fewer than two"),
        ("Timestamp(ms),Current(uA)\n1\n", "Line 2"),
    ],
)
def test_what_is_no_trace_is_told(tmp_path, text, words):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        read_trace(path)


@given(st.binary(max_size=300))
def test_no_file_makes_it_stumble(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("odd") / "trace.csv"
    path.write_bytes(b"time,current\n" + data)
    try:
        trace = read_trace(path)
    except BadInputError:
        return
    assert (np.diff(trace.ms) >= 0).all()


def test_a_trace_of_something_else_is_refused(prediction):
    whole = made_up(prediction)
    half = len(whole.ms) // 2
    for part in (slice(0, half), slice(half, None)):
        with pytest.raises(BadInputError, match="not one press"):
            compare(prediction, CurrentTrace(whole.ms[part], whole.ua[part]))
    with pytest.raises(BadInputError, match="not one press"):
        compare(prediction, CurrentTrace(whole.ms, np.full_like(whole.ua, 0.2)))
