"""Explores every state that cuts of a scenario leave, on all processors, and each state once.

The master holds the queue, workers explore (`workers.py`). What comes back is taken in the order in
which it was given out: which states there are does not depend on who was first. Each explored state
is written down (`record.py`), so that a campaign that was stopped, in whatever way, goes on, and
what it covered can be counted again by somebody else.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from tallystick import faults
from tallystick.tools.campaign.engine.explore import Explored, Violation, record
from tallystick.tools.campaign.engine.line import Line, split
from tallystick.tools.campaign.engine.record import CampaignRecord, Kept, Row, of_image
from tallystick.tools.campaign.engine.subject import Node, Scenario, Subject, ViolationError
from tallystick.tools.campaign.engine.workers import Here, Pool, Task, Workers


@dataclass(frozen=True)
class CampaignPlan:
    """What a campaign does. depth: cuts in a row. sample: part of the torn states to explore at
    depth 1 (clean cuts are always); deeper: states explored a level below that, at most, for each
    scenario; third: for depth 3."""

    board: str
    scenario_names: tuple[str, ...]
    depth: int = 2
    seed: int = 1
    sample: float = 1.0
    deeper: int = 4500
    third: int = 500


@dataclass
class CampaignResult:
    """What `--json` prints, but for what the command adds. cuts: places and ways in which power was
    cut, also where they leave a state that another left. digest: of all states, whatever their
    order."""

    board: str
    seed: int
    depth: int
    jobs: int
    scenarios: dict[str, dict[str, int]] = field(default_factory=dict)
    cuts: int = 0
    distinct_states: int = 0
    violations: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    states_per_second: float = 0.0
    stopped: bool = False
    digest: str = ""


class Progress:
    """Where a campaign stands, for a bar. Subclassed by the command."""

    def at(self, done: int, total: int, rate: float) -> None:
        """`done` of `total` known states; rate: states a second."""


@dataclass
class _Waiting:
    """A state in the queue. left: cuts that may still follow. node: None where an earlier run found
    it, and only its digest was written down; `parent` gives it back."""

    digest: bytes
    scenario: str
    path: tuple[str, ...]
    left: int
    node: Node | None = None
    parent: _Waiting | None = None


class Campaign:
    """One run of a plan. `record_file`: where to write down what is covered, and to go on from."""

    def __init__(
        self, plan: CampaignPlan, subject: Subject, record_file: Path | None = None
    ) -> None:
        self.plan = plan
        self.subject = subject
        self._record = CampaignRecord(record_file, self._key()) if record_file is not None else None
        self._seen: set[bytes] = set()
        self._queue: deque[_Waiting] = deque()
        self._roots: dict[str, int] = {}  # scenario → states of its first cuts
        self._rng = random.Random(f"{plan.seed} sample")
        self.result = CampaignResult(plan.board, plan.seed, plan.depth, 1)
        self._explored = 0
        self._complete = False
        self.phases: dict[tuple[str, int], set[str]] = {}
        """(scenario, operation) → in which phases of it the power was cut."""

    def _key(self) -> Row:
        return {"plan": asdict(self.plan), "image": of_image(self.subject.image)}

    def run(
        self,
        jobs: int,
        progress: Progress | None = None,
        *,
        until: Callable[[CampaignResult], bool] = lambda result: False,
    ) -> CampaignResult:
        """`jobs`: worker processes; 0: none, all is done here, and a firmware that makes
        MicroPython itself crash ends this process. `until`: stop as soon as it says so.
        KeyboardInterrupt stops, and keeps what is done. Raises BadInputError when the record is of
        another firmware or other options."""
        began = time.perf_counter()
        progress = progress or Progress()
        self.result.jobs = max(1, jobs)
        kept = self._record.open() if self._record is not None else Kept({}, [])
        try:
            self._record_all(kept)
            lacking = self._go_over(kept.states)
            self._explore_all(jobs, lacking, progress, began, until)
        except KeyboardInterrupt:
            self.result.stopped = True
        finally:
            result = self.result
            result.seconds = round(time.perf_counter() - began, 2)
            result.distinct_states = len(self._seen)
            result.states_per_second = round(self._explored / max(result.seconds, 0.001), 1)
            result.digest = hashlib.blake2b(
                b"".join(sorted(self._seen)), digest_size=16
            ).hexdigest()
            if self._record is not None:
                if self._complete:
                    self._record.add(self._end())
                self._record.close()
        return result

    def _end(self) -> Row:
        result = self.result
        return {
            "end": result.scenarios, "cuts": result.cuts, "states": result.distinct_states,
            "violations": len(result.violations), "digest": result.digest,
        }  # fmt: skip

    # -- scenarios -----------------------------------------------------------------------------

    def _record_all(self, kept: Kept) -> None:
        for name in self.plan.scenario_names:
            row = self._record_one(self.subject.scenario(name))
            if self._record is not None and name not in kept.scenarios:
                self._record.add(row)
            elif self._record is not None and row != kept.scenarios[name]:
                raise self._record.differs(f"scenario {name}")

    def _record_one(self, scenario: Scenario) -> Row:
        """Its row: operations as [kind, bytes, address], roots as [step, digest]."""
        rig = self.subject.rig(scenario.start)
        counts = self.result.scenarios[scenario.name] = {"operations": 0, "cuts": 0, "states": 0}
        row: Row = {"scenario": scenario.name, "operations": [], "roots": []}
        try:
            recorded = record(self.subject, rig, scenario, self.plan.seed)
        except ViolationError as violation:
            self._violation(scenario.name, (), violation.kind, str(violation))
            return row | {"violation": [violation.kind, str(violation)]}
        finally:
            rig.close()
        counts["operations"] = len(recorded.operations)
        row["operations"] = [
            [one.kind, len(one.old), one.address, int(one.old != one.new)]
            for one in recorded.operations
        ]
        recorded.nodes.sort(key=lambda node: not faults.clean(split(node.path[0])[1]))
        for node in recorded.nodes:
            index, variant = split(node.path[0])
            if faults.clean(variant) or self._rng.random() < self.plan.sample:
                self.phases.setdefault((scenario.name, index), set()).add(faults.phase(variant))
                self._add(_waiting(node, self.plan.depth - 1))
                row["roots"].append([node.path[0], node.digest.hex()])
        self._roots[scenario.name] = counts["states"]
        return row

    def _add(self, found: _Waiting) -> None:
        self.result.cuts += 1
        counts = self.result.scenarios[found.scenario]
        counts["cuts"] += 1
        if found.digest not in self._seen:
            self._seen.add(found.digest)
            counts["states"] += 1
            self._queue.append(found)

    def _share(self, parent: _Waiting) -> int:
        """States of a further cut to explore of this one: as many as the level may have, over all
        parents."""
        plan = self.plan
        if parent.left == 0:
            return 0
        if len(parent.path) == 1:
            return -(-plan.deeper // max(1, self._roots[parent.scenario]))
        return int(parent.digest[3] * plan.deeper < 256 * plan.third)

    def _violation(self, scenario: str, path: tuple[str, ...], kind: str, what: str) -> None:
        line = str(Line(self.plan.board, scenario, self.plan.seed, path))
        self.result.violations.append(asdict(Violation(line, kind, what)))

    # -- going on ------------------------------------------------------------------------------

    def _go_over(self, rows: list[Row]) -> list[_Waiting]:
        """What an earlier run explored counts as it did then. States whose content is needed again,
        because what cuts in them leave has not all been explored; those nearer to the start first.
        """
        for row in rows:
            if not self._queue or self._queue[0].digest.hex() != row["state"]:
                assert self._record is not None
                raise self._record.differs(f"state {row['state']}")
            entry = self._queue.popleft()
            if row.get("violation"):
                self._violation(entry.scenario, entry.path, *row["violation"])
            left = max(0, entry.left - 1)
            for step, digest in row["children"]:
                path = (*entry.path, step)
                self._add(_Waiting(bytes.fromhex(digest), entry.scenario, path, left, parent=entry))
        lacking: dict[bytes, _Waiting] = {}
        for entry in self._queue:
            lost = entry
            while lost.node is None and lost.parent is not None:
                lost = lost.parent
                lacking[lost.digest] = lost
        return sorted(lacking.values(), key=lambda one: len(one.path))

    def _give_back(self, parents: list[_Waiting], pool: Pool) -> None:
        """Explores these again, for the states that cuts in them leave."""
        waiting: dict[bytes, list[_Waiting]] = {}
        for entry in (*parents, *self._queue):
            if entry.node is None and entry.parent is not None:
                waiting.setdefault(entry.parent.digest, []).append(entry)
        for depth in sorted({len(one.path) for one in parents}):
            level = deque(one for one in parents if len(one.path) == depth)
            for parent, outcome in self._explored_of(level, pool):
                self._find_again(parent, outcome, waiting[parent.digest])

    def _find_again(self, parent: _Waiting, outcome: Explored, wanted: list[_Waiting]) -> None:
        found = {(child.digest, child.path[-1]): child for child in outcome.children}
        for entry in wanted:
            entry.node = found.get((entry.digest, entry.path[-1]))
            entry.parent = None
            if entry.node is None:
                assert self._record is not None
                raise self._record.differs(f"state {parent.digest.hex()}")

    # -- running -------------------------------------------------------------------------------

    def _explore_all(
        self,
        jobs: int,
        lacking: list[_Waiting],
        progress: Progress,
        began: float,
        until: Callable[[CampaignResult], bool],
    ) -> None:
        make = partial(Workers, jobs) if jobs else Here
        with make(self.subject, self.plan.seed) as pool:
            self._give_back(lacking, pool)
            if until(self.result):
                return
            for entry, outcome in self._explored_of(self._queue, pool):
                self._finish(entry, outcome)
                self._tell(progress, began)
                if until(self.result):
                    return
        self._complete = True

    def _explored_of(
        self, queue: deque[_Waiting], pool: Pool
    ) -> Iterator[tuple[_Waiting, Explored]]:
        """What comes of the states of a queue, in its order; it may grow meanwhile."""
        given: deque[list[_Waiting]] = deque()
        done: dict[int, list[Explored]] = {}
        first = 0
        while True:
            while pool.idle and queue:
                entries = [queue.popleft() for _ in range(min(pool.chunk, len(queue)))]
                pool.give(first + len(given), [self._task(entry) for entry in entries])
                given.append(entries)
            if not given:
                return
            done |= dict(pool.take())
            while first in done:
                yield from zip(given.popleft(), done.pop(first), strict=True)
                first += 1

    def _task(self, entry: _Waiting) -> Task:
        assert entry.node is not None, "what is explored is there"
        return Task(entry.node, self._share(entry))

    def _finish(self, entry: _Waiting, outcome: Explored) -> None:
        self._explored += 1
        children = outcome.children if outcome.violation is None else []
        if outcome.violation is not None:
            self._violation(entry.scenario, entry.path, *outcome.violation)
        for child in children:
            self._add(_waiting(child, max(0, entry.left - 1)))
        if self._record is None:
            return
        row: Row = {
            "state": entry.digest.hex(), "at": "/".join((entry.scenario, *entry.path)),
            "children": [[child.path[-1], child.digest.hex()] for child in children],
            "offered": outcome.offered, "rests": int(outcome.rests),
        }  # fmt: skip
        if outcome.violation is not None:
            row["violation"] = outcome.violation
        self._record.add(row)

    def _tell(self, progress: Progress, began: float) -> None:
        rate = self._explored / max(0.001, time.perf_counter() - began)
        progress.at(len(self._seen) - len(self._queue), len(self._seen), rate)


def _waiting(node: Node, left: int) -> _Waiting:
    return _Waiting(node.digest, node.scenario, node.path, left, node)
