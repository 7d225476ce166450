"""Explores every state that cuts of a scenario leave, on all processors, and each state once.

The master holds the queue; workers are processes without threads, each on a processor of its own
(the firmware's process runs on the same one: the two take turns, and a turn is ten times as fast
there). What is finished is written down now and then, so that a stopped campaign goes on.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tallystick.emulator import resident
from tallystick.tools.campaign import faults
from tallystick.tools.campaign.explore import Node, Outcome, Violation, explore, record, split
from tallystick.tools.campaign.oracle import ViolationError
from tallystick.tools.campaign.subject import Rig, Scenario, Subject

_CHUNK = 16  # states handed to a worker at a time
_SAVE_EVERY_S = 5.0


@dataclass(frozen=True)
class Plan:
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
class Result:
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


class _Explorer:
    """Rigs of one process, one for each start."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self._subject = subject
        self._seed = seed
        self._rigs: dict[str, Rig] = {}

    def explore(self, node: Node, *, deeper: int) -> Outcome:
        scenario = self._subject.scenario(node.scenario)
        if scenario.start not in self._rigs:
            self._rigs[scenario.start] = self._subject.rig(scenario.start)
            self._rigs[scenario.start].device.trace.off = True
        rig = self._rigs[scenario.start]
        return explore(self._subject, rig, node, scenario, self._seed, deeper=deeper)

    def close(self) -> None:
        for rig in self._rigs.values():
            rig.close()


def _work(pipe: Connection, processor: int, subject: Subject, seed: int) -> None:
    """A worker: takes chunks of (node, states of a further cut) until it is given None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the master says when to stop
    os.sched_setaffinity(0, {processor})
    gc.freeze()
    gc.set_threshold(50_000)  # states are values: there is next to nothing to collect
    explorer = _Explorer(subject, seed)
    try:
        with resident.enabled():
            while (chunk := pipe.recv()) is not None:
                pipe.send([explorer.explore(node, deeper=deeper) for node, deeper in chunk])
    finally:
        explorer.close()


class Campaign:
    """One run of a plan. `state_file`: where to write down what is finished, and to go on from."""

    def __init__(self, plan: Plan, subject: Subject, state_file: Path | None = None) -> None:
        self.plan = plan
        self.subject = subject
        self._state_file = state_file
        self._image = hashlib.sha256(subject.image.segments[0][1]).hexdigest()
        self._seen: set[bytes] = set()
        self._finished: set[bytes] = set()
        self._queue: deque[tuple[Node, int]] = deque()  # (node, cuts that may still follow)
        self._roots: dict[str, int] = {}  # scenario → states of its first cuts
        self._rng = random.Random(f"{plan.seed} sample")
        self.result = Result(plan.board, plan.seed, plan.depth, 1)
        self._explored = 0
        self.phases: dict[tuple[str, int], set[str]] = {}
        """(scenario, operation) → in which phases of it the power was cut."""

    def run(
        self,
        jobs: int,
        progress: Progress | None = None,
        *,
        until: Callable[[Result], bool] = lambda result: False,
    ) -> Result:
        """`until`: stop as soon as it says so. KeyboardInterrupt stops, and keeps what is done."""
        began = time.perf_counter()
        progress = progress or Progress()
        self._load()
        self.result.jobs = jobs
        try:
            with resident.enabled():
                self._record_all()
                if jobs == 1:
                    self._run_here(progress, began, until)
            if jobs > 1:
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
        line = "/".join((self.plan.board, scenario, str(self.plan.seed), *path))
        self.result.violations.append(asdict(Violation(line, kind, what)))

    # -- running -------------------------------------------------------------------------------

    def _take(self) -> list[tuple[Node, int]]:
        return [self._queue.popleft() for _ in range(min(_CHUNK, len(self._queue)))]

    def _finish(self, chunk: list[tuple[Node, int]], outcomes: list[Outcome]) -> None:
        for (node, left), outcome in zip(chunk, outcomes, strict=True):
            self._explored += 1
            self._finished.add(node.digest)
            if outcome.violation is not None:
                self._violation(node.scenario, node.path, *outcome.violation)
            for child in outcome.children if outcome.violation is None else ():
                self._add(child, max(0, left - 1))

    def _tell(self, progress: Progress, began: float) -> None:
        rate = self._explored / max(0.001, time.perf_counter() - began)
        progress.at(len(self._seen) - len(self._queue), len(self._seen), rate)

    def _run_here(self, progress: Progress, began: float, until: Callable[[Result], bool]) -> None:
        explorer = _Explorer(self.subject, self.plan.seed)
        try:
            while self._queue and not until(self.result):
                chunk = [self._queue.popleft()]
                self._finish(
                    chunk,
                    [explorer.explore(one, deeper=self._share(one, left)) for one, left in chunk],
                )
                self._tell(progress, began)
        finally:
            explorer.close()

    def _run_workers(
        self, jobs: int, progress: Progress, began: float, until: Callable[[Result], bool]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        processors = sorted(os.sched_getaffinity(0))
        busy: dict[Connection, list[tuple[Node, int]]] = {}
        idle: list[Connection] = []
        processes = []
        for number in range(jobs):
            ours, theirs = context.Pipe()
            processor = processors[number % len(processors)]
            arguments = (theirs, processor, self.subject, self.plan.seed)
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            idle.append(ours)
        saved = time.monotonic()
        try:
            while (self._queue or busy) and not until(self.result):
                while idle and self._queue:
                    pipe = idle.pop()
                    chunk = busy[pipe] = self._take()
                    pipe.send([(node, self._share(node, left)) for node, left in chunk])
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    outcomes = ready.recv()
                    self._finish(busy.pop(ready), outcomes)
                    idle.append(ready)
                self._tell(progress, began)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    saved = time.monotonic()
                    self._save()
            for pipe in idle:
                pipe.send(None)
        finally:
            for process in processes:
                process.join(1)
                process.terminate()

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
        new.write_text(json.dumps(content))
        new.replace(self._state_file)

    def _load(self) -> None:
        if self._state_file is None or not self._state_file.is_file():
            return
        content = json.loads(self._state_file.read_text())
        if json.dumps(content["plan"]) != json.dumps(self._key()):
            return
        finished = base64.b64decode(content["finished"])
        self._finished = {finished[at : at + 16] for at in range(0, len(finished), 16)}
        self.result.violations = content["violations"]
