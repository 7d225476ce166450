"""Ridge orientation of a finger: the zero-pole model of Sherlock and Monro (1993) with random
distortion. Angles in radians, modulo π; y points down the image (towards the palm)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tallystick.emulator.fingerprints.grid import Image, smooth_field


class Pattern(StrEnum):
    LEFT_LOOP = "left loop"
    RIGHT_LOOP = "right loop"
    WHORL = "whorl"
    TENTED_ARCH = "tented arch"
    ARCH = "arch"


# Natural distribution of the classes over all fingers (Wilson, Candela and Watson, 1994)
SHARES = {
    Pattern.LEFT_LOOP: 0.338,
    Pattern.RIGHT_LOOP: 0.317,
    Pattern.WHORL: 0.279,
    Pattern.ARCH: 0.037,
    Pattern.TENTED_ARCH: 0.029,
}


@dataclass(frozen=True)
class Singularities:
    """Loops (zeros) and deltas (poles) as (x, y) in pixels of the master."""

    pattern: Pattern
    loops: tuple[tuple[float, float], ...]
    deltas: tuple[tuple[float, float], ...]


def choose_pattern(rng: np.random.Generator) -> Pattern:
    patterns = list(SHARES)
    return patterns[int(rng.choice(len(patterns), p=list(SHARES.values())))]


def place_singularities(
    rng: np.random.Generator, pattern: Pattern, shape: tuple[int, int]
) -> Singularities:
    """Positions around the middle of a master of `shape`, with the spread seen between people."""
    height, width = shape
    x, y = width / 2, height * 0.46

    def near(px: float, py: float, spread: float) -> tuple[float, float]:
        return px + rng.normal(0, spread), py + rng.normal(0, spread)

    core = near(x, y, 10)
    down, aside = rng.normal(120, 18), rng.normal(85, 14)
    if pattern is Pattern.LEFT_LOOP:
        return Singularities(pattern, (core,), (near(core[0] + aside, core[1] + down, 10),))
    if pattern is Pattern.RIGHT_LOOP:
        return Singularities(pattern, (core,), (near(core[0] - aside, core[1] + down, 10),))
    if pattern is Pattern.TENTED_ARCH:
        return Singularities(pattern, (core,), (near(core[0], core[1] + down * 0.6, 6),))
    if pattern is Pattern.WHORL:
        gap = abs(rng.normal(34, 14)) + 8
        lower = near(core[0], core[1] + gap, 8)
        left = near(core[0] - aside * 1.1, core[1] + down, 12)
        right = near(core[0] + aside * 1.1, core[1] + down, 12)
        return Singularities(pattern, (core, lower), (left, right))
    return Singularities(pattern, (), ())


def orientation_field(
    rng: np.random.Generator, singularities: Singularities, shape: tuple[int, int]
) -> Image:
    """Angle of the ridges at every pixel, radians in [0, π)."""
    height, width = shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if singularities.pattern is Pattern.ARCH:
        # ridges that rise in the middle: the bend is strongest below the centre
        bend = rng.normal(1.0, 0.12) * np.sin(np.pi * y / height) ** 1.5
        theta = np.arctan(-bend * np.cos(np.pi * x / width) * 1.3)
    else:
        theta = np.zeros(shape, np.float32)
        for px, py in singularities.loops:
            theta += np.arctan2(y - py, x - px) / 2
        for px, py in singularities.deltas:
            theta -= np.arctan2(y - py, x - px) / 2
    theta += smooth_field(rng, shape, 110) * 0.16 + smooth_field(rng, shape, 45) * 0.07
    theta += rng.normal(0, 0.07)
    return np.asarray(np.mod(theta, np.pi), dtype=np.float32)
