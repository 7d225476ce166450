"""People and their fingers by name, and the ways in which a finger can be laid on the sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tallystick.common.errors import BadInputError
from tallystick.emulator.fingerprints.impression import Press, usual_press
from tallystick.emulator.fingerprints.master import Master, Traits, make_master

FINGERS = tuple(
    f"{hand}-{finger}"
    for hand in ("left", "right")
    for finger in ("thumb", "index", "middle", "ring", "little")
)


@lru_cache(maxsize=64)
def finger(name: str, person: int = 0) -> Master:
    """The named finger of a person, the same in every run. Raises BadInputError on a wrong name."""
    if name not in FINGERS:
        raise BadInputError(f"{name!r} is not a finger.", todo=f"Use one of {', '.join(FINGERS)}.")
    if person < 0:
        raise BadInputError(f"{person} is not a person.", todo="Use 0 or a higher number.")
    return make_master(person * len(FINGERS) + FINGERS.index(name))


@dataclass(frozen=True)
class Behaviour:
    """change: what is unusual about the press. ms: how long the finger stays, if that is the point.
    creep_ms: how long it hovers, felt by the touch output, before skin meets glass."""

    change: Callable[[Press], Press]
    ms: int | None = None
    creep_ms: int = 0

    def press(self, rng: np.random.Generator, traits: Traits) -> Press:
        return self.change(usual_press(rng, traits))


BEHAVIOURS: dict[str, Behaviour] = {
    "usual": Behaviour(lambda press: press),
    "still": Behaviour(lambda press: Press(turn_deg=press.turn_deg)),
    "high": Behaviour(lambda press: replace(press, y_mm=-9.0, x_mm=0.0)),
    "low": Behaviour(lambda press: replace(press, y_mm=9.0, x_mm=0.0)),
    "left": Behaviour(lambda press: replace(press, x_mm=-7.0, y_mm=0.0)),
    "right": Behaviour(lambda press: replace(press, x_mm=7.0, y_mm=0.0)),
    "dry": Behaviour(lambda press: replace(press, moisture=0.0, pressure=0.3)),
    "wet": Behaviour(lambda press: replace(press, moisture=1.0, pressure=0.9)),
    "tip": Behaviour(lambda press: Press(contact=0.3, moisture=press.moisture)),
    "slide": Behaviour(lambda _: Press(slide_mm_s=9.0, twist_deg_s=150.0)),
    "quick": Behaviour(lambda press: press, ms=90),
    "slow": Behaviour(lambda press: press, creep_ms=4000),
}


def behaviour(name: str) -> Behaviour:
    """Raises BadInputError on an unknown name."""
    if name not in BEHAVIOURS:
        raise BadInputError(
            f"{name!r} is not a way to press.", todo=f"Use one of {', '.join(BEHAVIOURS)}."
        )
    return BEHAVIOURS[name]
