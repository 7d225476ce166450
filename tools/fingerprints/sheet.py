"""A sheet of impressions: one finger, pressed in each way there is."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from tallystick.emulator.fingerprints.fingers import BEHAVIOURS, finger
from tallystick.emulator.fingerprints.impression import SIZE, impression

_COLUMNS = 5
_CAPTION = 16  # px
_GAP = 6


def sheet(name: str, person: int = 0) -> Image.Image:
    """Raises BadInputError on an unknown finger."""
    master = finger(name, person)
    shown = [each for each in BEHAVIOURS if each not in ("quick", "slow")]
    rows = -(-len(shown) // _COLUMNS)
    width, height = SIZE + _GAP, SIZE + _CAPTION + _GAP
    picture = Image.new("L", (_COLUMNS * width - _GAP, rows * height - _GAP), 255)
    pen = ImageDraw.Draw(picture)
    for k, manner in enumerate(shown):
        rng = np.random.default_rng((master.seed, k))
        pixels = impression(master, BEHAVIOURS[manner].press(rng, master.traits), rng)
        x, y = k % _COLUMNS * width, k // _COLUMNS * height
        picture.paste(Image.fromarray(pixels), (x, y))
        pen.text((x + 2, y + SIZE + 2), manner, fill=0)
    return picture
