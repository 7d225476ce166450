"""Synthetic fingers and their impressions: always the same for a seed, and enough like prints."""

from __future__ import annotations

import numpy as np
import pytest

from tallystick.common.errors import BadInputError
from tallystick.emulator.fingerprints.enrolment import of_one_finger
from tallystick.emulator.fingerprints.fingers import FINGERS, behaviour, finger
from tallystick.emulator.fingerprints.grid import box_blur, sample, smooth_field
from tallystick.emulator.fingerprints.impression import Press, impression, no_finger
from tallystick.emulator.fingerprints.master import make_master
from tallystick.emulator.fingerprints.matcher import (
    MAX_MINUTIAE,
    TEMPLATE_LIMIT,
    minutiae_count,
    shared_matcher,
)
from tallystick.emulator.fingerprints.orientation import SHARES, choose_pattern
from tallystick.emulator.fingerprints.quality import measure


def image(name="right-thumb", seed=0, **how):
    return impression(finger(name), Press(**how), np.random.default_rng(seed))


class TestMaster:
    def test_a_seed_is_a_finger(self):
        one, same, other = make_master(8), make_master(8), make_master(9)
        assert one.traits == same.traits
        assert np.array_equal(one.ridges, same.ridges)
        assert not np.array_equal(one.ridges, other.ridges)

    def test_ridges_are_a_period_apart(self):
        master = make_master(3)
        spectrum = np.abs(np.fft.fft2(master.ridges.astype(float)))
        fy, fx = np.meshgrid(*(np.fft.fftfreq(n) for n in master.ridges.shape), indexing="ij")
        frequency = np.hypot(fx, fy)
        mean = (spectrum**2 * frequency).sum() / (spectrum**2).sum()
        assert 1 / mean == pytest.approx(master.traits.period_px, rel=0.15)

    def test_patterns_come_in_their_natural_shares(self):
        rng = np.random.default_rng(0)
        drawn = [choose_pattern(rng) for _ in range(4000)]
        for pattern, share in SHARES.items():
            assert drawn.count(pattern) / len(drawn) == pytest.approx(share, abs=0.03)

    def test_repr_is_short(self):
        assert len(repr(make_master(1))) < 300


class TestNames:
    def test_ten_fingers_a_person(self):
        assert len(set(FINGERS)) == 10
        seeds = {finger(name, person).seed for name in FINGERS[:3] for person in (0, 1)}
        assert len(seeds) == 6

    @pytest.mark.parametrize(
        "call", [lambda: finger("nose"), lambda: finger("left-thumb", -1), lambda: behaviour("odd")]
    )
    def test_unknown(self, call):
        with pytest.raises(BadInputError, match=r"Use"):
            call()


class TestImpression:
    def test_same_seed_same_image(self):
        assert np.array_equal(image(seed=1), image(seed=1))
        assert not np.array_equal(image(seed=1), image(seed=2))

    @pytest.mark.parametrize(
        ("how", "right", "down"),
        [({"x_mm": 7}, 1, 0), ({"x_mm": -7}, -1, 0), ({"y_mm": 9}, 0, 1), ({"y_mm": -9}, 0, -1)],
    )
    def test_the_finger_lies_where_it_is_put(self, how, right, down):
        quality = measure(image(**how))
        assert quality.coverage < 0.65
        assert quality.right * right + quality.down * down > 0.3

    def test_moisture_and_pressure_darken(self):
        ink = [measure(image(moisture=m)).ink for m in (0.0, 0.3, 0.6, 1.0)]
        assert ink == sorted(ink)
        assert measure(image(pressure=0.1)).ink < measure(image(pressure=0.9)).ink

    def test_movement_smears(self):
        still, moving = measure(image()), measure(image(slide_mm_s=9, twist_deg_s=150))
        assert moving.clarity < 0.6 < still.clarity

    def test_bare_glass(self):
        assert measure(no_finger(np.random.default_rng(0))).coverage == 0

    def test_turning_turns_the_image(self):
        upright, turned = image(), image(turn_deg=90)
        score = shared_matcher().score
        extract = shared_matcher().extract
        assert score(extract(upright), extract(turned)) > 40  # bozorth3 does not mind
        assert not np.array_equal(upright, turned)


class TestMatcher:
    def test_one_finger_scores_and_two_do_not(self):
        matcher = shared_matcher()
        one, same = matcher.extract(image(seed=1)), matcher.extract(image(seed=2, turn_deg=8))
        other = matcher.extract(image("left-index"))
        assert matcher.score(one, same) > 40
        assert matcher.score(one, other) < 25
        assert of_one_finger([one, same], matcher)
        assert not of_one_finger([one, other], matcher)
        assert not of_one_finger([one], matcher)

    def test_templates_are_small_iso_records(self):
        template = shared_matcher().extract(image())
        assert template.startswith(b"FMR\0 20\0")
        assert int.from_bytes(template[8:12], "big") == len(template) <= TEMPLATE_LIMIT
        assert 15 <= minutiae_count(template) <= MAX_MINUTIAE

    def test_nothing_to_see_scores_nothing(self):
        matcher = shared_matcher()
        bare = matcher.extract(no_finger(np.random.default_rng(0)))
        assert matcher.score(bare, matcher.extract(image())) == 0


class TestGrid:
    def test_sampling_on_the_pixels_gives_the_pixels(self):
        rng = np.random.default_rng(0)
        picture = rng.random((20, 30), dtype=np.float32)
        y, x = np.mgrid[0:19, 0:29].astype(np.float32)
        assert np.allclose(sample(picture, y, x), picture[:19, :29], atol=1e-3)

    def test_blurring_keeps_the_mean(self):
        assert np.allclose(box_blur(np.full((9, 9), 3.0, np.float32), 2), 3.0)

    def test_smooth_field_has_about_unit_variance(self):
        field = smooth_field(np.random.default_rng(0), (400, 400), 10)
        assert field.std() == pytest.approx(1.0, abs=0.15)
        assert abs(np.diff(field, axis=0)).max() < 0.6


def test_the_generator_is_the_one_that_was_measured():
    """Another generator needs another measurement: measure, then change this."""
    pixels = image(seed=5, x_mm=0.5, moisture=0.45)[::48, ::48].astype(int)
    measured = [[232, 235, 94, 235], [142, 176, 41, 232], [44, 217, 162, 119], [74, 208, 87, 131]]
    assert np.abs(pixels - measured).max() <= 6  # other processors round otherwise
