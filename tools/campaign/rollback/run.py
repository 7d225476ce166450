"""Many thieves, each with an order of his own, on several processors."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.basics import PIN, WRONG_PIN
from tallystick.tools.campaign.ctap.world import INDEX, STRANGER
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.engine.record import CampaignRecord, of_image
from tallystick.tools.campaign.engine.subject import ViolationError
from tallystick.tools.campaign.rollback.thief import Thief

LENGTH = 60  # deeds of one thief
_KEPT = 20
_PART = 20  # thieves that one process takes at a time
_PULSES = 6
_OPERATIONS = 16

Wish = tuple[int, ...]
_DEEDS = ("back", "pin", "finger", "copy", "replug", "cut", "stop")
# How often a thief does each: one is after the PIN, one after fingers, one after anything.
_WISHES: tuple[Wish, ...] = (
    (6, 14, 0, 2, 2, 1, 2),
    (6, 0, 12, 3, 1, 1, 2),
    (8, 6, 5, 3, 2, 2, 2),
)


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
    elif what == "stop":
        thief.stop_programs_at(rng.randrange(_OPERATIONS))
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


def run(
    image: Image, write_backs: int, seed: int, jobs: int, state: Path | None = None
) -> Iterator[RollbackTally]:
    """The tally as it grows, until so many copies were written back. state: where it is written
    down, and gone on from. Raises BadInputError for a state of something else."""
    jobs = jobs or os.cpu_count() or 1
    key = {"seed": seed, "image": of_image(image)}
    record = None if state is None else CampaignRecord(state, key, "delete it")
    rows = record.open_rows() if record is not None else []
    tally = RollbackTally()
    for row in rows:
        tally.add(_read(row["tally"]))
    done = {row["first"] for row in rows}
    first = (seed + _PART * number for number in count())
    fresh = (number for number in first if number not in done)
    yield tally
    with ExitStack() as life:
        if record is not None:
            life.callback(record.close)
        pool = life.enter_context(worker_pool(jobs))
        while tally.write_backs < write_backs:
            parts: dict[Future[RollbackTally], int] = {
                pool.submit(_task, image, tuple(range(number, number + _PART))): number
                for number in islice(fresh, jobs)
            }
            for part in as_completed(parts):
                if record is not None:
                    record.add({"first": parts[part], "tally": part.result().as_dict()})
                tally.add(part.result())
                yield tally


def _read(told: dict[str, Any]) -> RollbackTally:
    found = [
        Sight(one["seed"], tuple(one["deeds"]), one["kind"], one["what"]) for one in told["found"]
    ]
    return RollbackTally(**{**told, "found": found})
