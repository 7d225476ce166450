"""One relay, and many on several processors."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tallystick.common.errors import TallyError
from tallystick.emulator import boards
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools import firmware
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.wire import judge
from tallystick.tools.campaign.wire.acts import ACTS, TO_CARD_ACTS, TO_STATION_ACTS
from tallystick.tools.campaign.wire.deeds import TO_CARD, TO_STATION, Deed
from tallystick.tools.campaign.wire.judge import Problem
from tallystick.tools.campaign.wire.relay import Relay
from tallystick.tools.campaign.wire.scenarios import Scenario, WireStation, begin, prepare
from tallystick.tools.campaign.wire.world import OTHER, SERIAL, finger, new_card, watched_answers
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import Update
from tallystick.tools.image.build import build

BOARD = boards.DEFAULT
_PART = 50  # runs that one process takes at a time
_KEPT = 20  # violations that are told in full
# An update has ten times as many blocks as anything else.
_WEIGHTS = {
    "provision": 8, "resume": 4, "reseed": 5, "rekey": 4, "refused": 3, "wipe": 3,
    "update": 1,
}  # fmt: skip


@dataclass(frozen=True)
class WireSighting:
    """A violation. line: what `--replay` takes."""

    line: str
    kind: str
    what: str


@dataclass
class WireTally:
    """done: runs in which the station came to its end in spite of the relay. deeds: how often each
    was done."""

    runs: int = 0
    violations: int = 0
    done: int = 0
    scenarios: Counter[str] = field(default_factory=Counter)
    deeds: Counter[str] = field(default_factory=Counter)
    found: list[WireSighting] = field(default_factory=list)

    def add(self, other: WireTally) -> None:
        self.runs += other.runs
        self.violations += other.violations
        self.done += other.done
        self.scenarios += other.scenarios
        self.deeds += other.deeds
        self.found = (self.found + other.found)[:_KEPT]

    def as_dict(self) -> dict[str, object]:
        return {
            "runs": self.runs,
            "violations": self.violations,
            "done": self.done,
            "scenarios": dict(self.scenarios),
            "deeds": dict(self.deeds),
            "found": [asdict(one) for one in self.found],
        }


class Wire:
    """Runs relays, one after the other. image: of the card; the station is this process."""

    def __init__(self, image: Image, update: Update) -> None:
        self._image = image
        self._folder = TemporaryDirectory()
        self.scenarios = {one.name: one for one in prepare(image, update)}

    def close(self) -> None:
        self._folder.cleanup()

    def draw(self, seed: int) -> tuple[str, tuple[Deed, ...]]:
        """One to four deeds somewhere in one of the scenarios."""
        rng = random.Random(seed)
        name = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        blocks = self.scenarios[name].blocks + 2
        deeds = []
        for _ in range(rng.choices((1, 2, 3, 4), (8, 4, 2, 1))[0]):
            way = rng.choice((TO_CARD, TO_STATION))
            act = rng.choice(TO_CARD_ACTS if way == TO_CARD else TO_STATION_ACTS)
            deeds.append(Deed(way, rng.randrange(blocks), act, rng.randrange(1 << 16)))
        return name, tuple(deeds)

    def run(self, name: str, deeds: Sequence[Deed], tally: WireTally) -> list[Problem]:
        """One relay with these deeds."""
        scenario = self.scenarios[name]
        problems: list[Problem] = []
        done = False  # also where it crashes
        with ExitStack() as stack:
            station = begin(scenario, Path(self._folder.name))
            stack.callback(station.journal.close)
            seed = 1 + zlib.crc32(line_of(name, deeds).encode())
            first = new_card(self._image, flash=scenario.flash, seed=seed)
            cards = [stack.enter_context(first)]

            def other() -> DockedLink:
                cards[0].undock()
                cards.append(stack.enter_context(new_card(self._image, OTHER, seed=seed + 1)))
                return DockedLink(cards[-1])

            relay = Relay(
                DockedLink(cards[0]), deeds, ACTS, older=scenario.heard, other=other, seed=seed
            )
            try:
                done = self._act(scenario, station, relay, problems)
                relay.close()
                problems += judge.learnt(relay, station, (SERIAL, OTHER))
                problems += judge.obeyed(relay)
                done = done and len(cards) == 1
                if not done:
                    for card in cards:
                        problems += judge.left(scenario, station, card)
                    problems += judge.finish(scenario, station, cards[0])
                problems += judge.finished(scenario, station, cards[0])
            except FirmwareCrashError as error:
                problems.append(("firmware", error.what))
            except Exception as error:
                problems.append(("crash", f"{type(error).__name__}: {error}"))
            tally.done += done
        tally.runs += 1
        tally.scenarios[name] += 1
        tally.deeds.update(deed.name for deed in relay.done)
        return problems

    def _act(
        self, scenario: Scenario, station: WireStation, relay: Relay, problems: list[Problem]
    ) -> bool:
        """What the station does. → whether it came to its end"""
        with watched_answers() as taken:
            try:
                scenario.act(station, relay, finger(relay.card))
                done = True
            except FirmwareCrashError:
                raise
            except TallyError:
                done = False
            problems += judge.forged(relay, taken)
        return done


def line_of(name: str, deeds: Sequence[Deed]) -> str:
    return ",".join((name, *map(str, deeds)))


def subject(root: Path | None = None) -> tuple[Image, Update]:
    """The card's image under test, and an update for it."""
    with firmware.rooted(root or firmware.root()):
        built = build("card", BOARD, "0.2.0")
    return image_under_test("card", BOARD, root, readable=False), Update.parse(
        built.header + built.file_system
    )


class _WireProcess:
    """What a process keeps between its parts: preparing the scenarios takes as long as ten runs."""

    wire: Wire | None = None
    open = ExitStack()


def _start(image: Image, update: Update) -> None:
    _WireProcess.open.enter_context(resident.enabled())
    _WireProcess.wire = wire = Wire(image, update)
    _WireProcess.open.callback(wire.close)
    multiprocessing.util.Finalize(None, _WireProcess.open.close, exitpriority=100)


def _task(seeds: range, until: float) -> WireTally:
    tally, wire = WireTally(), _WireProcess.wire
    assert wire is not None
    for seed in seeds:
        if time.time() > until:
            break
        name, deeds = wire.draw(seed)
        problems = wire.run(name, deeds, tally)
        tally.violations += len(problems)
        tally.found += [WireSighting(line_of(name, deeds), *one) for one in problems]
    return tally


def run(
    subject: tuple[Image, Update], runs: int | None, seconds: float | None, seed: int, jobs: int
) -> Iterator[WireTally]:
    """The tally as it grows, until so many relays were at work, or so long."""
    jobs = jobs or os.cpu_count() or 1
    until = time.time() + seconds if seconds else float("inf")
    tally, following = WireTally(), seed
    with worker_pool(jobs, _start, *subject) as pool:
        while time.time() < until and (runs is None or tally.runs < runs):
            parts = []
            for _ in range(jobs):
                size = (
                    _PART if runs is None else max(1, min(_PART, -(-(runs - tally.runs) // jobs)))
                )
                parts.append(pool.submit(_task, range(following, following + size), until))
                following += size
            for part in as_completed(parts):
                tally.add(part.result())
                yield tally
