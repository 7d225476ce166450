"""One impression of a finger: what the sensor's 192 × 192 pixels see of it in one press.

The steps follow SFinGe (Cappelli, Maio and Maltoni, 2002): place and turn, elastic distortion,
contact area, pressure and moisture, scratches, sensor noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tallystick.emulator.fingerprints.grid import (
    PX_PER_MM,
    Image,
    box_blur,
    sample,
    smooth_field,
)
from tallystick.emulator.fingerprints.master import SHAPE, Master, Traits

SIZE = 192
Pixels = npt.NDArray[np.uint8]  # [192, 192], 0 a ridge, 255 no contact

_EXPOSURE_S = 0.1  # how long the image is integrated


@dataclass(frozen=True)
class Press:
    """How a finger lies on the sensor.

    x_mm, y_mm: the pad's middle from the sensor's middle, x to the right, y towards the hand.
    turn_deg: clockwise. pressure: 0 hardly touching, 0.5 usual, 1 as hard as can be. moisture: 0
    bone dry, 0.5 usual, 1 dripping. contact: the share of the pad's width and height that touches.
    stretch: elastic distortion, 1 usual. slide_mm_s and twist_deg_s: movement while the image is
    taken. dirt: share of the glass or skin that is covered.
    """

    x_mm: float = 0.0
    y_mm: float = 0.0
    turn_deg: float = 0.0
    pressure: float = 0.5
    moisture: float = 0.5
    contact: float = 1.0
    stretch: float = 1.0
    slide_mm_s: float = 0.0
    twist_deg_s: float = 0.0
    dirt: float = 0.0


def usual_press(rng: np.random.Generator, traits: Traits) -> Press:
    """A press as this finger's owner makes it, day in, day out."""
    return Press(
        x_mm=float(rng.normal(0, 1.1)),
        y_mm=float(rng.normal(0, 1.4)),
        turn_deg=float(rng.normal(0, 9)),
        pressure=float(np.clip(rng.normal(traits.firmness, 0.10), 0.1, 0.95)),
        moisture=float(np.clip(rng.normal(traits.moisture, 0.10), 0.05, 0.95)),
        contact=float(np.clip(rng.normal(0.97, 0.05), 0.7, 1.05)),
        stretch=float(abs(rng.normal(1.0, 0.35))),
        slide_mm_s=float(abs(rng.normal(0, 0.4))),
        twist_deg_s=float(rng.normal(0, 2)),
        dirt=float(rng.beta(1.0, 30.0)),
    )


def careful_press(rng: np.random.Generator, traits: Traits) -> Press:
    """A press while enrolling: the person was told to lay the finger flat and keep it still."""
    press = usual_press(rng, traits)
    return replace(press, slide_mm_s=press.slide_mm_s / 2, twist_deg_s=press.twist_deg_s / 2)


def impression(master: Master, press: Press, rng: np.random.Generator) -> Pixels:
    """The sensor's image of this press. `rng` decides what differs between two presses alike."""
    y, x = _finger_coordinates(press, rng)
    ridges = _exposed(master, press, y, x)
    contact = _contact(master.traits, press, y, x, rng)
    ink = _inked(ridges, master.traits, press, rng) * contact
    ink *= 1 - _marks(press, rng)
    return _digitised(ink, rng)


def no_finger(rng: np.random.Generator) -> Pixels:
    """The bare glass."""
    return _digitised(np.zeros((SIZE, SIZE), np.float32), rng)


def _finger_coordinates(press: Press, rng: np.random.Generator) -> tuple[Image, Image]:
    """Where on the pad each pixel of the sensor looks: (y, x) in px from the pad's middle."""
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) - np.float32((SIZE - 1) / 2)
    v -= np.float32(press.y_mm * PX_PER_MM)
    u -= np.float32(press.x_mm * PX_PER_MM)
    angle = np.float32(np.deg2rad(press.turn_deg))
    y = v * np.cos(angle) - u * np.sin(angle)
    x = v * np.sin(angle) + u * np.cos(angle)
    strength = np.float32(press.stretch * 1.6)
    y += smooth_field(rng, (SIZE, SIZE), 80) * strength
    x += smooth_field(rng, (SIZE, SIZE), 80) * strength
    return y, x


def _exposed(master: Master, press: Press, y: Image, x: Image) -> Image:
    """Ridges in [-1, 1], averaged over the exposure when the finger moves."""
    ridges = master.ridges.astype(np.float32) / np.float32(127)
    middle_y, middle_x = (SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2
    travel = press.slide_mm_s * PX_PER_MM * _EXPOSURE_S
    twist = np.deg2rad(press.twist_deg_s) * _EXPOSURE_S
    if travel < 0.3 and abs(twist) < 0.003:
        return sample(ridges, y + middle_y, x + middle_x)
    total = np.zeros((SIZE, SIZE), np.float32)
    longest = travel + abs(twist) * SIZE / 2
    exposures = int(np.clip(np.ceil(longest / 1.5), 3, 24))
    for moment in np.linspace(-0.5, 0.5, exposures):
        turned = np.float32(twist * moment)
        moved = np.float32(travel * moment)
        total += sample(
            ridges, y - x * turned + moved * 0.8 + middle_y, x + y * turned + moved * 0.6 + middle_x
        )
    return total / np.float32(exposures)


def _contact(traits: Traits, press: Press, y: Image, x: Image, rng: np.random.Generator) -> Image:
    """1 where skin lies on the glass, 0 beside it, with a ragged edge."""
    grown = press.contact * (0.82 + 0.36 * press.pressure) * PX_PER_MM
    radius = np.hypot(x / (traits.half_width_mm * grown), y / (traits.half_height_mm * grown))
    edge = (1 - radius) * 14 + smooth_field(rng, (SIZE, SIZE), 9) * 0.6
    return np.asarray(np.clip(edge + 0.5, 0, 1), dtype=np.float32)


def _inked(ridges: Image, traits: Traits, press: Press, rng: np.random.Generator) -> Image:
    """Darkness, 0 to 1: pressure and moisture widen ridges, dryness and wear break them."""
    patches = smooth_field(rng, (SIZE, SIZE), 40) * 0.22
    pores = smooth_field(rng, (SIZE, SIZE), 5)
    dry = np.clip(0.55 - press.moisture + patches * 0.5, 0, 1) * 2.4 + traits.wear * 0.8
    wide = (press.pressure - 0.5) * 1.1 + (press.moisture - 0.5) * 1.7 + patches
    level = ridges * (1 - 0.5 * traits.wear) + wide
    level -= dry * np.clip(pores * 0.55 + 0.25, 0, None)
    level += smooth_field(rng, (SIZE, SIZE), 3) * 0.12
    return np.asarray(1 / (1 + np.exp(-level * 4.5)), dtype=np.float32)


def _marks(press: Press, rng: np.random.Generator) -> Image:
    """1 where a scratch, a cut or dirt keeps the skin off the glass."""
    marks = np.zeros((SIZE, SIZE), np.float32)
    v, u = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    for _ in range(rng.poisson(0.8 + 12 * press.dirt)):
        angle = rng.uniform(0, np.pi)
        across = (u - rng.uniform(0, SIZE)) * np.sin(angle) - (v - rng.uniform(0, SIZE)) * np.cos(
            angle
        )
        marks = np.maximum(marks, np.clip(rng.uniform(0.8, 2.2) - np.abs(across), 0, 1))
    if press.dirt > 0:
        cover = smooth_field(rng, (SIZE, SIZE), 22)
        marks = np.maximum(marks, np.clip((cover - 2.2 + 3.2 * press.dirt) * 3, 0, 1))
    return marks


def _digitised(ink: Image, rng: np.random.Generator) -> Pixels:
    """Sensor blur, gain and noise."""
    light = 238 - 205 * box_blur(ink, 1)
    light += rng.standard_normal((SIZE, SIZE), dtype=np.float32) * 6
    light += smooth_field(rng, (SIZE, SIZE), 48) * 3
    return np.clip(light, 0, 255).astype(np.uint8)
