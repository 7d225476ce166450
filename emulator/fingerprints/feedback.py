"""What is wrong with an image, in the terms in which a person can do something about it."""

from __future__ import annotations

from enum import Enum, IntEnum

from tallystick.emulator.fingerprints.quality import Quality

NO_FINGER_COVERAGE = 0.04
SHORT_COVERAGE = 0.35
OFF_CENTRE_COVERAGE = 0.65  # less of the glass is covered …
OFF_CENTRE_OFFSET = 0.25  # … and the covered part lies this far off the middle
DRY_INK = 0.10
WET_INK = 0.82
SMEARED_CLARITY = 0.60
FEW_MINUTIAE = 8


class Placement(IntEnum):
    """The values are CTAP 2.1's lastEnrollSampleStatus (6.7.4)."""

    GOOD = 0
    TOO_HIGH = 1
    TOO_LOW = 2
    TOO_LEFT = 3
    TOO_RIGHT = 4
    POOR = 7


class Fault(Enum):
    """Why no features come out of an image."""

    NONE = "none"
    SHORT = "too little of the finger"
    SMEARED = "ridges run every way"


def shows_finger(quality: Quality) -> bool:
    return quality.coverage >= NO_FINGER_COVERAGE


def placement(quality: Quality) -> Placement:
    """Whether the finger is too dry or too wet, or lies off the middle."""
    if not DRY_INK <= quality.ink <= WET_INK:
        return Placement.POOR
    offset = max(abs(quality.right), abs(quality.down))
    if quality.coverage < OFF_CENTRE_COVERAGE and offset >= OFF_CENTRE_OFFSET:
        return _side(quality)
    return Placement.GOOD


def _side(quality: Quality) -> Placement:
    """The side of the glass where the skin is."""
    if abs(quality.down) >= abs(quality.right):
        return Placement.TOO_LOW if quality.down > 0 else Placement.TOO_HIGH
    return Placement.TOO_RIGHT if quality.right > 0 else Placement.TOO_LEFT


def fault(quality: Quality, minutiae: int) -> Fault:
    if quality.coverage < SHORT_COVERAGE or minutiae < FEW_MINUTIAE:
        return Fault.SHORT
    if quality.clarity < SMEARED_CLARITY:
        return Fault.SMEARED
    return Fault.NONE
