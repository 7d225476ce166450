"""Explores every state that cuts of a scenario leave, on all processors, and each state once.

The master holds the queue, workers explore (`workers.py`). What is finished is written down now and
then, so that a stopped campaign goes on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.engine import faults
from tallystick.tools.campaign.engine.explore import Explored, Violation, record
from tallystick.tools.campaign.engine.line import Line, split
from tallystick.tools.campaign.engine.subject import Node, Scenario, Subject, ViolationError
from tallystick.tools.campaign.engine.workers import Chunk, Explorer, Task, Workers

_CHUNK = 16  # states handed to a worker at a time
_SAVE_EVERY_S = 5.0


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
    cut, also where they leave a state that another left."""

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


class Progress:
    """Where a campaign stands, for a bar. Subclassed by the command."""

    def at(self, done: int, total: int, rate: float) -> None:
        """`done` of `total` known states; rate: states a second."""


class Campaign:
    """One run of a plan. `state_file`: where to write down what is finished, and to go on from."""

    def __init__(
        self, plan: CampaignPlan, subject: Subject, state_file: Path | None = None
    ) -> None:
        self.plan = plan
        self.subject = subject
        self._state_file = state_file
        self._image = hashlib.sha256(subject.image.segments[0][1]).hexdigest()
        self._seen: set[bytes] = set()
        self._finished: set[bytes] = set()
        self._queue: deque[tuple[Node, int]] = deque()  # (node, cuts that may still follow)
        self._roots: dict[str, int] = {}  # scenario → states of its first cuts
        self._rng = random.Random(f"{plan.seed} sample")
        self.result = CampaignResult(plan.board, plan.seed, plan.depth, 1)
        self._explored = 0
        self.phases: dict[tuple[str, int], set[str]] = {}
        """(scenario, operation) → in which phases of it the power was cut."""

    def run(
        self,
        jobs: int,
        progress: Progress | None = None,
        *,
        until: Callable[[CampaignResult], bool] = lambda result: False,
    ) -> CampaignResult:
        """`jobs`: worker processes; 0: none, all is done here, and a firmware that makes
        MicroPython itself crash ends this process. `until`: stop as soon as it says so.
        KeyboardInterrupt stops, and keeps what is done."""
        began = time.perf_counter()
        progress = progress or Progress()
        self._load()
        self.result.jobs = max(1, jobs)
        try:
            self._record_all()
            if jobs == 0:
                self._run_here(progress, began, until)
            else:
                self._run_workers(jobs, progress, began, until)
        except KeyboardInterrupt:
            self.result.stopped = True
        result = self.result
        result.seconds = round(time.perf_counter() - began, 2)
        result.distinct_states = len(self._seen)
        result.states_per_second = round(self._explored / max(result.seconds, 0.001), 1)
        if result.stopped:
            self._save()
        elif self._state_file is not None:
            self._state_file.unlink(missing_ok=True)
        return result

    # -- scenarios -----------------------------------------------------------------------------

    def _record_all(self) -> None:
        for name in self.plan.scenario_names:
            self._record(self.subject.scenario(name))

    def _record(self, scenario: Scenario) -> None:
        rig = self.subject.rig(scenario.start)
        counts = self.result.scenarios[scenario.name] = {"operations": 0, "cuts": 0, "states": 0}
        try:
            recorded = record(self.subject, rig, scenario, self.plan.seed)
        except ViolationError as violation:
            self._violation(scenario.name, (), violation.kind, str(violation))
            return
        finally:
            rig.close()
        counts["operations"] = len(recorded.operations)
        recorded.nodes.sort(key=lambda node: not faults.clean(split(node.path[0])[1]))
        for node in recorded.nodes:
            index, variant = split(node.path[0])
            if faults.clean(variant) or self._rng.random() < self.plan.sample:
                self.phases.setdefault((scenario.name, index), set()).add(faults.phase(variant))
                self._add(node, self.plan.depth - 1)
        self._roots[scenario.name] = counts["states"]

    def _add(self, node: Node, left: int) -> None:
        self.result.cuts += 1
        counts = self.result.scenarios[node.scenario]
        counts["cuts"] += 1
        digest = node.digest
        if digest in self._seen:
            return
        self._seen.add(digest)
        counts["states"] += 1
        if digest in self._finished and left == 0:
            return
        self._queue.append((node, left))

    def _share(self, parent: Node, left: int) -> int:
        """States of a further cut to explore of this one: as many as the level may have, over all
        parents. It does not depend on which worker was first."""
        plan = self.plan
        if left == 0:
            return 0
        if len(parent.path) == 1:
            return -(-plan.deeper // max(1, self._roots[parent.scenario]))
        return int(parent.digest[3] * plan.deeper < 256 * plan.third)

    def _violation(self, scenario: str, path: tuple[str, ...], kind: str, what: str) -> None:
        line = str(Line(self.plan.board, scenario, self.plan.seed, path))
        self.result.violations.append(asdict(Violation(line, kind, what)))

    # -- running -------------------------------------------------------------------------------

    def _take(self, most: int) -> Chunk:
        """What is next."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        return [Task(node, left, self._share(node, left)) for node, left in taken]

    def _finish(self, chunk: Chunk, outcomes: list[Explored]) -> None:
        for task, outcome in zip(chunk, outcomes, strict=True):
            self._explored += 1
            self._finished.add(task.node.digest)
            if outcome.violation is not None:
                self._violation(task.node.scenario, task.node.path, *outcome.violation)
            for child in outcome.children if outcome.violation is None else ():
                self._add(child, max(0, task.left - 1))

    def _tell(self, progress: Progress, began: float) -> None:
        rate = self._explored / max(0.001, time.perf_counter() - began)
        progress.at(len(self._seen) - len(self._queue), len(self._seen), rate)

    def _run_here(
        self, progress: Progress, began: float, until: Callable[[CampaignResult], bool]
    ) -> None:
        with resident.enabled(), closing(Explorer(self.subject, self.plan.seed)) as explorer:
            while self._queue and not until(self.result):
                chunk = self._take(1)
                self._finish(chunk, explorer.explore(chunk))
                self._tell(progress, began)

    def _run_workers(
        self, jobs: int, progress: Progress, began: float, until: Callable[[CampaignResult], bool]
    ) -> None:
        saved = time.monotonic()
        with Workers(jobs, self.subject, self.plan.seed) as workers:
            while (self._queue or workers.busy) and not until(self.result):
                while workers.idle and self._queue:
                    workers.give(self._take(_CHUNK))
                for chunk, outcomes in workers.take():
                    self._finish(
                        chunk, self._explore_apart(chunk) if outcomes is None else outcomes
                    )
                self._tell(progress, began)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    saved = time.monotonic()
                    self._save()

    def _explore_apart(self, chunk: Chunk) -> list[Explored]:
        """With MicroPython in processes of its own, whose crash is a state's outcome like any."""
        with closing(Explorer(self.subject, self.plan.seed)) as explorer:
            return explorer.explore(chunk)

    # -- stopping and going on -----------------------------------------------------------------

    def _key(self) -> dict[str, object]:
        return {**asdict(self.plan), "image": self._image}

    def _save(self) -> None:
        """States of the last level are not explored again; the few above them are, for what comes
        below them."""
        if self._state_file is None:
            return
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "plan": self._key(),
            "violations": self.result.violations,
            "finished": base64.b64encode(b"".join(sorted(self._finished))).decode(),
        }
        new = self._state_file.with_suffix(".new")
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(self._state_file)

    def _load(self) -> None:
        if self._state_file is None or not self._state_file.is_file():
            return
        content = json.loads(self._state_file.read_text(encoding="utf-8"))
        if json.dumps(content["plan"]) != json.dumps(self._key()):
            return
        finished = base64.b64decode(content["finished"])
        self._finished = {finished[at : at + 16] for at in range(0, len(finished), 16)}
        self.result.violations = content["violations"]
