"""The processes that explore states, without threads, each on a processor of its own.

MicroPython runs inside them (`emulator/interpreter/resident.py`): a firmware that makes it crash
takes the worker with it. That one is replaced, and what it had in hand is explored apart.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from tallystick.common.closing import Closing
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.engine.explore import Explored, explore
from tallystick.tools.campaign.engine.subject import Node, Rig, Subject


@dataclass(frozen=True)
class Task:
    """One state to explore. deeper: how many states of a further cut to work out."""

    node: Node
    deeper: int


Chunk = list[Task]
Outcome = tuple[int, list[Explored]]  # the number of a chunk, and what came of its states


class Pool(Protocol):
    """Who explores. chunk: states to give at a time."""

    chunk: int

    @property
    def idle(self) -> bool: ...

    def give(self, number: int, chunk: Chunk) -> None:
        """To somebody who is idle."""

    def take(self) -> Iterator[Outcome]:
        """Waits for some of what was given."""


class Explorer:
    """Rigs of one process, one for each start."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self._subject = subject
        self._seed = seed
        self._rigs: dict[str, Rig] = {}

    def explore(self, chunk: Chunk) -> list[Explored]:
        return [self._explore(task.node, task.deeper) for task in chunk]

    def _explore(self, node: Node, deeper: int) -> Explored:
        scenario = self._subject.scenario(node.scenario)
        if scenario.start not in self._rigs:
            self._rigs[scenario.start] = self._subject.rig(scenario.start)
            self._rigs[scenario.start].device.trace.off = True
        rig = self._rigs[scenario.start]
        return explore(self._subject, rig, node, scenario, self._seed, deeper=deeper)

    def close(self) -> None:
        for rig in self._rigs.values():
            rig.close()


class Here(Closing):
    """`with Here(…)`: this process itself, one state at a time."""

    chunk = 1

    def __init__(self, subject: Subject, seed: int) -> None:
        self._explorer = Explorer(subject, seed)
        self._resident = resident.enabled()
        self._resident.__enter__()
        self._given: list[tuple[int, Chunk]] = []

    @property
    def idle(self) -> bool:
        return not self._given

    def give(self, number: int, chunk: Chunk) -> None:
        self._given.append((number, chunk))

    def take(self) -> Iterator[Outcome]:
        number, chunk = self._given.pop()
        yield number, self._explorer.explore(chunk)

    def close(self) -> None:
        self._explorer.close()
        self._resident.__exit__(None, None, None)


def _work(pipe: Connection, processor: int, subject: Subject, seed: int) -> None:
    """A worker: takes chunks until it is given None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the master says when to stop
    os.sched_setaffinity(0, {processor})
    gc.freeze()
    gc.set_threshold(50_000)  # states are values: there is next to nothing to collect
    explorer = Explorer(subject, seed)
    try:
        with resident.enabled():
            while (chunk := pipe.recv()) is not None:
                pipe.send(explorer.explore(chunk))
    finally:
        explorer.close()


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    processor: int


class Workers(Closing):
    """`with Workers(…)`: give chunks while there is somebody `idle`, and take what comes back."""

    chunk = 16

    def __init__(self, count: int, subject: Subject, seed: int) -> None:
        self._subject = subject
        self._seed = seed
        self._busy: dict[Connection, tuple[_Worker, int, Chunk]] = {}
        processors = sorted(os.sched_getaffinity(0))
        self._processes: list[BaseProcess] = []
        self._idle = [self._start(processors[at % len(processors)]) for at in range(count)]

    def _start(self, processor: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, processor, self._subject, self._seed)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        self._processes.append(process)
        theirs.close()
        return _Worker(process, ours, processor)

    @property
    def idle(self) -> bool:
        return bool(self._idle)

    def give(self, number: int, chunk: Chunk) -> None:
        worker = self._idle.pop()
        self._busy[worker.pipe] = (worker, number, chunk)
        worker.pipe.send(chunk)

    def take(self) -> Iterator[Outcome]:
        for ready in wait(list(self._busy)):
            assert isinstance(ready, Connection)
            worker, number, chunk = self._busy.pop(ready)
            try:
                outcomes = ready.recv()
            except EOFError:
                worker.process.join()
                worker = self._start(worker.processor)
                outcomes = self._explore_apart(chunk)
            self._idle.append(worker)
            yield number, outcomes

    def _explore_apart(self, chunk: Chunk) -> list[Explored]:
        """With MicroPython in processes of its own, whose crash is a state's outcome like any."""
        with closing(Explorer(self._subject, self._seed)) as explorer:
            return explorer.explore(chunk)

    def close(self) -> None:
        for worker in self._idle:
            worker.pipe.send(None)
        for process in self._processes:
            process.join(1)
            process.terminate()
