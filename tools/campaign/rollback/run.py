"""Many thieves, each with an order of his own, on several processors."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.basics import PIN, WRONG_PIN
from tallystick.tools.campaign.ctap.world import INDEX, STRANGER
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.campaign.rollback.thief import Thief

LENGTH = 60  # deeds of one thief
_KEPT = 20
_PART = 20  # thieves that one process takes at a time
_PULSES = 6

Wish = tuple[int, ...]
_DEEDS = ("back", "pin", "finger", "copy", "replug", "cut")
# How often a thief does each: one is after the PIN, one after fingers, one after anything.
_WISHES: tuple[Wish, ...] = ((6, 14, 0, 2, 2, 1), (6, 0, 12, 3, 1, 1), (8, 6, 5, 3, 2, 2))


@dataclass(frozen=True)
class Sight:
    """A violation, and the deeds that led to it."""

    seed: int
    deeds: tuple[str, ...]
    kind: str
    what: str


@dataclass
class RollbackTally:
    write_backs: int = 0
    cuts: int = 0
    wrong_pins: int = 0
    wrong_fingers: int = 0
    thieves: int = 0
    violations: int = 0
    found: list[Sight] = field(default_factory=list)

    def add(self, other: RollbackTally) -> None:
        for name in ("write_backs", "cuts", "wrong_pins", "wrong_fingers", "thieves", "violations"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.found = (self.found + other.found)[:_KEPT]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def rob(thief: Thief, seed: int, tally: RollbackTally, length: int = LENGTH) -> None:
    """One order of deeds, drawn by `seed`."""
    rng = random.Random(seed)
    wish = rng.choice(_WISHES)
    thief.begin()
    deeds: list[str] = []
    tally.thieves += 1
    try:
        for _ in range(length):
            deeds.append(_deed(thief, rng, wish, tally))
    except ViolationError as error:
        tally.violations += 1
        if len(tally.found) < _KEPT:
            tally.found.append(Sight(seed, tuple(deeds), error.kind, str(error)))
    tally.cuts += thief.gained.cuts
    tally.wrong_pins += thief.gained.wrong_pins
    tally.wrong_fingers += thief.gained.wrong_fingers


def _deed(thief: Thief, rng: random.Random, wish: Wish, tally: RollbackTally) -> str:
    """Something that a thief does. → its name"""
    what = rng.choices(_DEEDS, wish)[0]
    if what == "back":
        # The newest copies are the most useful ones, and those of the owner the oldest.
        number = rng.randrange(len(thief.copies))
        if rng.random() < 0.5:
            number = len(thief.copies) - 1 - rng.randrange(min(3, len(thief.copies)))
        flash, sensor = rng.choice(((True, True), (True, False), (False, True)))
        tally.write_backs += 1
        thief.write_back(number, flash=flash, sensor=sensor)
    elif what == "pin":
        thief.try_pin(rng.choice((PIN, WRONG_PIN, WRONG_PIN)))
    elif what == "finger":
        thief.try_finger(rng.choice((STRANGER, INDEX)))
    elif what == "copy":
        thief.copy()
    elif what == "replug":
        thief.replug()
    else:
        thief.cut_at(rng.randrange(_PULSES))
    return what


def _task(image: Image, seeds: tuple[int, ...]) -> RollbackTally:
    tally = RollbackTally()
    with resident.enabled():
        thief = Thief(image)
        try:
            for seed in seeds:
                rob(thief, seed, tally)
        finally:
            thief.close()
    return tally


def run(image: Image, write_backs: int, seed: int, jobs: int) -> Iterator[RollbackTally]:
    """The tally as it grows, until so many copies were written back."""
    jobs = jobs or os.cpu_count() or 1
    tally, next_seed = RollbackTally(), seed
    with worker_pool(jobs) as pool:
        while tally.write_backs < write_backs:
            parts = []
            for _ in range(jobs):
                parts.append(pool.submit(_task, image, tuple(range(next_seed, next_seed + _PART))))
                next_seed += _PART
            for part in as_completed(parts):
                tally.add(part.result())
                yield tally
