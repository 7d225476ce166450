"""The master of a finger: the whole pad's ridges, from which every impression is taken.

Ridges grow out of noise by repeated filtering with Gabor filters tuned to the local orientation
(Cappelli, Erol, Maio and Maltoni, 2000); minutiae appear where growing ridges meet. The pad is
16 mm × 20 mm at 508 dpi, [400, 320] pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tallystick.emulator.fingerprints.grid import Image, smooth_field
from tallystick.emulator.fingerprints.orientation import (
    Pattern,
    choose_pattern,
    orientation_field,
    place_singularities,
)

SHAPE = (400, 320)
_GROWTH = (432, 360)  # grown with a margin: the filters wrap around at the edges
_ORIENTATIONS = 16
_ITERATIONS = 6
_SCALES = (0.88, 1.0, 1.12)  # ridge periods on one pad, relative to its mean
_ENVELOPE = 0.40  # standard deviation of the Gabor envelope, in ridge periods
_PERIODS = np.arange(8.0, 10.75, 0.25)  # ridge period in pixels, 0.40 to 0.53 mm


@dataclass(frozen=True)
class Traits:
    """What stays with a finger for life. Moisture and firmness are the usual values of its owner,
    on the scales of `Press`; `wear` from 0 (crisp ridges) to 1 (hardly any relief left)."""

    pattern: Pattern
    period_px: float
    half_width_mm: float
    half_height_mm: float
    moisture: float
    firmness: float
    wear: float


@dataclass(frozen=True)
class Master:
    """`ridges` [400, 320] int8: 127 on the crest of a ridge, -127 in a furrow."""

    seed: int
    traits: Traits
    ridges: npt.NDArray[np.int8] = field(repr=False)


@lru_cache(maxsize=1)
def _filters(period: float) -> npt.NDArray[np.float32]:
    """Frequency responses [periods * orientations, y, x] of Gabor filters around one ridge
    period."""
    height, width = _GROWTH
    v = np.fft.fftfreq(height).astype(np.float32)[:, None]
    u = np.fft.rfftfreq(width).astype(np.float32)[None, :]
    bank = []
    for scale in _SCALES:
        frequency = 1 / (period * scale)
        spread = 2 * (np.pi * _ENVELOPE / frequency) ** 2
        for k in range(_ORIENTATIONS):
            angle = np.pi * k / _ORIENTATIONS
            fx, fy = -np.sin(angle) * frequency, np.cos(angle) * frequency
            answer = np.exp(-spread * ((u - fx) ** 2 + (v - fy) ** 2))
            answer += np.exp(-spread * ((u + fx) ** 2 + (v + fy) ** 2))
            answer[0, 0] = 0
            bank.append(answer)
    return np.asarray(bank, dtype=np.float32)


def _grow(rng: np.random.Generator, theta: Image, period: float) -> Image:
    """Ridges in [-1, 1] that follow `theta`, about one period apart."""
    height, width = _GROWTH
    bank = _filters(period)
    turn = theta / np.pi * _ORIENTATIONS
    k = np.floor(turn).astype(np.intp)
    turn -= k
    # the period varies over the pad by some 8 %, which makes ridges begin and end
    stretch = np.clip(1 + smooth_field(rng, _GROWTH, 80) * 0.6, 0, len(_SCALES) - 1.001)
    s = np.floor(stretch).astype(np.intp)
    stretch -= s
    corners = [
        (
            (s + i) * _ORIENTATIONS + (k + j) % _ORIENTATIONS,
            np.abs(1 - i - stretch) * np.abs(1 - j - turn),
        )
        for i in (0, 1)
        for j in (0, 1)
    ]
    image = rng.standard_normal(_GROWTH, dtype=np.float32)
    for _ in range(_ITERATIONS):
        answers = np.fft.irfft2(np.fft.rfft2(image)[None] * bank, s=(height, width), axes=(1, 2))
        image = np.zeros(_GROWTH, np.float32)
        for index, weight in corners:
            image += np.take_along_axis(answers, index[None], 0)[0] * weight
        image = np.tanh(image * np.float32(2.5) / image.std()).astype(np.float32)
    return image


def draw_traits(rng: np.random.Generator) -> Traits:
    return Traits(
        pattern=choose_pattern(rng),
        period_px=float(rng.choice(_PERIODS)),
        half_width_mm=float(np.clip(rng.normal(6.8, 0.6), 5.2, 8.0)),
        half_height_mm=float(np.clip(rng.normal(9.0, 0.7), 7.0, 10.0)),
        moisture=float(np.clip(rng.normal(0.5, 0.10), 0.25, 0.75)),
        firmness=float(np.clip(rng.normal(0.5, 0.10), 0.25, 0.8)),
        wear=float(np.clip(rng.beta(1.4, 8.0), 0, 0.7)),
    )


def make_master(seed: int) -> Master:
    """The finger of this seed, always the same. Takes about half a second."""
    rng = np.random.default_rng((0x7A11, seed))
    traits = draw_traits(rng)
    theta = orientation_field(rng, place_singularities(rng, traits.pattern, _GROWTH), _GROWTH)
    ridges = _grow(rng, theta, traits.period_px)
    top, left = ((a - b) // 2 for a, b in zip(_GROWTH, SHAPE, strict=True))
    ridges = ridges[top : top + SHAPE[0], left : left + SHAPE[1]]
    return Master(seed, traits, np.rint(ridges * 127).astype(np.int8))
