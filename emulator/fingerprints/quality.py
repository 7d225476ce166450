"""What the sensor measures on an image before it looks for minutiae: how much of the glass is
covered, where, how dark the ridges are and how clearly they run one way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.emulator.fingerprints.grid import Image
from tallystick.emulator.fingerprints.impression import SIZE, Pixels

_BLOCK = 16
_BLOCKS = SIZE // _BLOCK
_DARK = 140  # grey level below which a pixel counts as ridge


@dataclass(frozen=True)
class Quality:
    """coverage: share of the glass that shows skin. right, down: centre of the covered part, -1 to
    1 from the middle of the glass. ink: share of dark pixels where there is skin. clarity: mean
    coherence of the ridge direction there, 0 to 1."""

    coverage: float
    right: float
    down: float
    ink: float
    clarity: float


def measure(pixels: Pixels) -> Quality:
    image = pixels.astype(np.float32)
    blocks = image.reshape(_BLOCKS, _BLOCK, _BLOCKS, _BLOCK).transpose(0, 2, 1, 3)
    skin = (blocks.std(axis=(2, 3)) > 20) | (blocks.mean(axis=(2, 3)) < _DARK)
    covered = int(skin.sum())
    if not covered:
        return Quality(0.0, 0.0, 0.0, 0.0, 0.0)
    rows, columns = np.nonzero(skin)
    half = (_BLOCKS - 1) / 2
    return Quality(
        coverage=covered / skin.size,
        right=float(columns.mean() - half) / half,
        down=float(rows.mean() - half) / half,
        ink=float((blocks[skin] < _DARK).mean()),
        clarity=float(_coherence(image)[skin].mean()),
    )


def _coherence(image: Image) -> Image:
    """Per block [12, 12]: 1 when all gradients lie on one line, 0 when they point everywhere."""
    gy = np.gradient(image, axis=0)
    gx = np.gradient(image, axis=1)

    def total(values: Image) -> Image:
        blocks = values.reshape(_BLOCKS, _BLOCK, _BLOCKS, _BLOCK)
        return np.asarray(blocks.sum(axis=(1, 3)), dtype=np.float32)

    xx, yy, xy = total(gx * gx), total(gy * gy), total(gx * gy)
    return np.asarray(np.hypot(xx - yy, 2 * xy) / (xx + yy + 1e-6), dtype=np.float32)
