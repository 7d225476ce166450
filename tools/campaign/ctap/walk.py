"""All ways through an alphabet up to a length, and long ways drawn by chance; on several
processors."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from itertools import islice
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.alphabet import CHANCE, LETTERS, into_service, probe, warm_up
from tallystick.tools.campaign.ctap.world import CtapWorld
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.engine.record import CampaignRecord, of_image
from tallystick.tools.campaign.engine.subject import ViolationError

Way = tuple[str, ...]
_KEPT = 20  # violations that are told in full
_READ_MOST = 200  # tries to make a way shorter


@dataclass(frozen=True)
class Found:
    """A violation: the letters that lead to it, the last one at fault."""

    way: Way
    kind: str
    what: str


@dataclass
class WalkTally:
    """What came of some ways. states: digests of what was known, without what chance draws."""

    states: set[bytes] = field(default_factory=set)
    transitions: int = 0
    violations: int = 0
    found: list[Found] = field(default_factory=list)

    def add(self, other: WalkTally) -> None:
        self.states |= other.states
        self.transitions += other.transitions
        self.violations += other.violations
        for one in other.found:
            self._keep(one)

    def wrong(self, found: Found) -> None:
        self.violations += 1
        self._keep(found)

    def _keep(self, found: Found) -> None:
        told = {(one.kind, one.what, one.way[-1]) for one in self.found}
        if len(self.found) < _KEPT and (found.kind, found.what, found.way[-1]) not in told:
            self.found.append(found)


@dataclass(frozen=True)
class WalkPlan:
    """All ways of `depth` letters of `alphabet`, and `walks` long ones of `length` letters. quick:
    see `Walker`."""

    alphabet: Way
    depth: int
    walks: int = 0
    length: int = 40
    seed: int = 1
    quick: bool = False

    def tasks(self) -> Iterator[Way | int]:
        """Beginnings of two letters (the ways shorter than that go with the first ones), and seeds
        of long ways."""
        if self.depth == 1:
            yield from ((letter,) for letter in self.alphabet)
        elif self.depth:
            yield from ((one, two) for one in self.alphabet for two in self.alphabet)
        yield from range(self.seed, self.seed + self.walks)


class Walker:
    """One world, with a reader in service at its beginning. Raises ViolationError where not even
    that is reached. quick: the host is spared (`Mcu.spare_host`), and the firmware has loaded all
    its modules before. Ways are the same, and what they lead to."""

    def __init__(self, image: Image, seed: int = 1, *, quick: bool = False) -> None:
        self._world = CtapWorld(image, seed, quick=quick)
        try:
            into_service(self._world)
            if quick:
                warm_up(self._world)
            self._start = self._world.point()
        except BaseException:
            self._world.close()
            raise

    def close(self) -> None:
        self._world.close()

    # -- all ways --------------------------------------------------------------------------------

    def below(self, way: Way, plan: WalkPlan) -> WalkTally:
        """All ways of the plan that begin with `way`."""
        tally = WalkTally()
        self._world.return_to(self._start)
        for at in range(len(way)):
            # The ways shorter than the beginnings belong to the first of those that share them.
            first = all(other == plan.alphabet[0] for other in way[at + 1 :])
            silent = WalkTally() if not first else tally
            if not self._step(way[: at + 1], silent, last=at + 1 == plan.depth):
                return tally
        if len(way) < plan.depth:
            self._branch(way, plan, tally)
        return tally

    def _branch(self, way: Way, plan: WalkPlan, tally: WalkTally) -> None:
        point = self._world.point()
        last = len(way) + 1 == plan.depth
        for letter in plan.alphabet:
            longer = (*way, letter)
            if self._step(longer, tally, last=last) and not last:
                self._branch(longer, plan, tally)
            self._world.return_to(point)

    def _step(self, way: Way, tally: WalkTally, *, last: bool) -> bool:
        """The last letter of a way. False: what follows would say nothing more."""
        tally.transitions += 1
        try:
            LETTERS[way[-1]](self._world)
            tally.states.add(self._digest())
            if last:
                probe(self._world)
        except ViolationError as error:
            tally.wrong(Found(way, error.kind, str(error)))
            return False
        return True

    def _digest(self) -> bytes:
        return blake2b(repr(self._world.known.abstract()).encode(), digest_size=8).digest()

    # -- long ways -------------------------------------------------------------------------------

    def by_chance(self, seed: int, length: int) -> WalkTally:
        """A way drawn from all letters; where it fails, it is told as short as it can be made."""
        tally = WalkTally()
        way = tuple(random.Random(seed).choices(list(CHANCE), list(CHANCE.values()), k=length))
        found = self._follow(way, tally)
        if found is not None:
            tally.wrong(self._shortened(found))
        return tally

    def begin(self) -> CtapWorld:
        """A reader in service, for somebody else's letters."""
        self._world.return_to(self._start)
        return self._world

    def follow(self, way: Way) -> Found | None:
        """None when all is well."""
        return self._follow(way, WalkTally())

    def _follow(self, way: Way, tally: WalkTally) -> Found | None:
        world = self._world
        world.return_to(self._start)
        at = 0
        try:
            for at, letter in enumerate(way):  # noqa: B007
                LETTERS[letter](world)
                tally.transitions += 1
                tally.states.add(self._digest())
            probe(world)
        except ViolationError as error:
            return Found(way[: at + 1], error.kind, str(error))
        return None

    def _shortened(self, found: Found) -> Found:
        tries = 0
        again = True
        while again and tries < _READ_MOST:
            again = False
            for at in reversed(range(len(found.way) - 1)):
                tries += 1
                shorter = self.follow(found.way[:at] + found.way[at + 1 :])
                if shorter is not None and shorter.kind == found.kind:
                    found, again = shorter, True
                    break
        return found


# -- on several processors -----------------------------------------------------------------------

_walkers: list[Walker] = []
_life = ExitStack()  # of a worker


def _begin(image: Image, turn: Synchronized[int], quick: bool) -> None:
    """In a worker, before its first task."""
    with turn.get_lock():
        mine, turn.value = turn.value, turn.value + 1
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[mine % len(processors)]})
    _life.enter_context(resident.enabled())
    _walkers.append(Walker(image, quick=quick))


def _do(task: Way | int, plan: WalkPlan) -> WalkTally:
    (walker,) = _walkers
    return (
        walker.by_chance(task, plan.length) if isinstance(task, int) else walker.below(task, plan)
    )


def run(
    image: Image, plan: WalkPlan, jobs: int = 0, state: Path | None = None
) -> Iterator[tuple[int, int, WalkTally]]:
    """(tasks done, of so many, all that came of them so far), after each. state: where it is
    written down, and gone on from. Raises ViolationError where the reader does not even come into
    service, BadInputError for a state of something else."""
    whole = list(plan.tasks())
    kept = WalkState(state, image, plan)
    try:
        done, tally = kept.open()
        left = [(number, task) for number, task in enumerate(whole) if number not in done]
        if left:
            with resident.enabled():
                Walker(image, quick=plan.quick).close()
        else:
            yield len(whole), len(whole), tally
        jobs = min(jobs or len(os.sched_getaffinity(0)), len(left)) or 1
        while left:
            for number, result, died in _round(image, plan, left, jobs):
                if not died:
                    kept.add(number, result, tally.states)
                tally.add(result)
                done.add(number)
                yield len(done), len(whole), tally
            left = [(number, task) for number, task in left if number not in done]
    finally:
        kept.close()


class WalkState:
    """What came of each task, as far as it is done; a worker that died has to do its own again."""

    def __init__(self, file: Path | None, image: Image, plan: WalkPlan) -> None:
        key = {"plan": asdict(plan), "image": of_image(image)}
        self._record = None if file is None else CampaignRecord(file, key, "delete it")

    def open(self) -> tuple[set[int], WalkTally]:
        """The numbers of the tasks that are done, and what came of them."""
        done, tally = set[int](), WalkTally()
        for row in self._record.open_rows() if self._record is not None else ():
            done.add(row["task"])
            found = [Found(tuple(one["way"]), one["kind"], one["what"]) for one in row["found"]]
            states = {bytes.fromhex(state) for state in row["states"]}
            tally.add(WalkTally(states, row["transitions"], row["violations"], found))
        return done, tally

    def add(self, number: int, result: WalkTally, known: set[bytes]) -> None:
        """known: states that other rows have."""
        if self._record is not None:
            new = sorted(state.hex() for state in result.states - known)
            self._record.add(
                {
                    "task": number,
                    "states": new,
                    "transitions": result.transitions,
                    "violations": result.violations,
                    "found": [asdict(one) for one in result.found],
                }
            )

    def close(self) -> None:
        if self._record is not None:
            self._record.close()


def _round(
    image: Image, plan: WalkPlan, tasks: list[tuple[int, Way | int]], jobs: int
) -> Iterator[tuple[int, WalkTally, bool]]:
    """Until all is done, or a worker dies (True): then what it was at is a violation. With the
    number of the task."""
    context = multiprocessing.get_context("spawn")
    turn = context.Value("i", 0)
    left = iter(tasks)
    with worker_pool(jobs, _begin, image, turn, plan.quick) as pool:
        going: dict[Future[WalkTally], tuple[int, Way | int]] = {}
        for number, task in islice(left, 2 * jobs):
            going[pool.submit(_do, task, plan)] = number, task
        while going:
            ready, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in ready:
                number, task = going.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    yield number, _died(task), True
                    for other, its_task in going.values():
                        yield other, _died(its_task), True
                    return
                yield number, result, False
                follows = next(left, None)
                if follows is not None:
                    going[pool.submit(_do, follows[1], plan)] = follows


def _died(task: Way | int) -> WalkTally:
    tally = WalkTally()
    way = task if isinstance(task, tuple) else (f"walk {task}",)
    tally.wrong(Found(way, "crash", "MicroPython itself crashed, or its process was killed"))
    return tally
