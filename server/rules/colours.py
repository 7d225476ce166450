"""A firm's colour on our pages: readable on light and dark grounds (WCAG 2.2, 1.4.3 and "relative
luminance")."""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass

COLOUR = re.compile(r"#[0-9a-f]{6}")
AA = 4.5
# As in static/style.css: where the colour stands as text, and what stands on it.
LIGHT_GROUND, DARK_PAPER = "#f5f6f8", "#1b222c"
ON_LIGHT, ON_DARK = "#ffffff", "#0c1a2a"
_STEPS = 200


@dataclass(frozen=True)
class Accents:
    """What pages use: on light and on dark grounds, each as `#rrggbb`."""

    light: str
    dark: str


def luminance(colour: str) -> float:
    """A ratio: 0 (black) to 1 (white), of `#rrggbb`."""
    parts = []
    for value in _rgb(colour):
        parts.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    """A ratio without a unit: 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def accents(colour: str) -> Accents:
    """The colour itself where it can be read; otherwise the nearest darker or lighter one of its
    hue that can."""
    light = _until(colour, darker=True, against=(LIGHT_GROUND, ON_LIGHT))
    dark = _until(colour, darker=False, against=(DARK_PAPER, ON_DARK))
    return Accents(light, dark)


def _until(colour: str, *, darker: bool, against: tuple[str, ...]) -> str:
    hue, lightness, saturation = colorsys.rgb_to_hls(*_rgb(colour))
    end = 0.0 if darker else 1.0
    for step in range(_STEPS + 1):
        tried = lightness + (end - lightness) * step / _STEPS
        found = _hex(colorsys.hls_to_rgb(hue, tried, saturation))
        if all(contrast(found, ground) >= AA for ground in against):
            break
    return found


def _rgb(colour: str) -> tuple[float, float, float]:
    number = int(colour[1:], 16)
    return (number >> 16) / 255, (number >> 8 & 255) / 255, (number & 255) / 255


def _hex(rgb: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(value * 255):02x}" for value in rgb)
