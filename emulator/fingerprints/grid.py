"""Images as arrays: smooth random fields, sampling, blurring. Arrays are float32, [y, x]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

PX_PER_MM = 20.0  # 508 dpi


def hat_weights(size: int, knots: int) -> Image:
    """Cubic B-spline weights [size, knots + 3] of `knots` intervals over `size` samples."""
    t = np.linspace(0, knots, size, endpoint=False, dtype=np.float32)
    distance = np.abs(t[:, None] - np.arange(-1, knots + 2, dtype=np.float32)[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> Image:
    """Random field of zero mean and about unit variance, smooth over `cell` pixels."""
    rows = max(1, round(shape[0] / cell))
    columns = max(1, round(shape[1] / cell))
    knots = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32)
    # a cubic B-spline of unit white noise has a standard deviation of about 0.48 in two dimensions
    field = hat_weights(shape[0], rows) @ knots @ hat_weights(shape[1], columns).T
    return np.asarray(field / np.float32(0.48), dtype=np.float32)


def sample(image: Image, y: Image, x: Image) -> Image:
    """Bilinear samples of `image` at (y, x); coordinates outside are clamped to the edge."""
    height, width = image.shape
    y = np.clip(y, 0, height - 1.001)
    x = np.clip(x, 0, width - 1.001)
    top = y.astype(np.int32)
    left = x.astype(np.int32)
    dy = y - top
    dx = x - left
    at = top * width + left
    flat = image.ravel()
    upper = flat[at] * (1 - dx) + flat[at + 1] * dx
    lower = flat[at + width] * (1 - dx) + flat[at + width + 1] * dx
    return np.asarray(upper * (1 - dy) + lower * dy, dtype=np.float32)


def box_blur(image: Image, radius: int) -> Image:
    """Mean over a square of 2 · radius + 1 pixels, edges repeated."""
    if radius < 1:
        return image
    width = 2 * radius + 1
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float32)
        low = np.take(total, range(total.shape[axis] - width), axis=axis)
        high = np.take(total, range(width, total.shape[axis]), axis=axis)
        image = (high - low) / np.float32(width)
    return image
