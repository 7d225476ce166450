"""The batch that runs in the console: it runs in a thread of its own, and every browser looks at
the same picture of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tallystick.common import beside, moments
from tallystick.common.errors import BadInputError, TallyError
from tallystick.provisioning.batch import Batch, Summary
from tallystick.provisioning.console.questions import Question, Questions
from tallystick.provisioning.journal import CardState
from tallystick.provisioning.ports import source_for
from tallystick.provisioning.ready import ReadyStation
from tallystick.provisioning.steps import Outcome, Plan

STEPS = (
    CardState.AUTHENTIC,
    CardState.KEYED,
    CardState.SEEDED,
    CardState.VERIFIED,
    CardState.REGISTERED,
    CardState.LOCKED,
)


class Mood(StrEnum):
    """What a port's tile says at a glance."""

    EMPTY = "empty"
    WORKING = "working"
    PRESS = "press"
    TYPE = "type"
    DONE = "done"
    FAILED = "failed"


def short(port: str) -> str:
    """A port as people say it: ttyUSB0, not /dev/ttyUSB0."""
    in_memory = port.startswith("/dev/shm/")  # noqa: S108 (not a device)
    if port.startswith("/dev/") and not in_memory:
        return port.removeprefix("/dev/")
    return port.rsplit("/", 1)[-1] if port.startswith("/") else port


@dataclass(frozen=True)
class Tile:
    """One port. step: how many of STEPS its card has taken. done, failed: cards so far."""

    port: str
    mood: Mood = Mood.EMPTY
    serial: str = ""
    step: int = 0
    state: CardState = CardState.SEEN
    done: int = 0
    failed: int = 0

    @property
    def name(self) -> str:
        return short(self.port)


@dataclass(frozen=True)
class Trouble:
    """A card that failed, and what a person reads about it."""

    port: str
    serial: str
    error: TallyError


@dataclass(frozen=True)
class Picture:
    """A batch at one moment. left_s: seconds that the rest will take; None while unknown."""

    name: str
    wanted: int
    done: int
    running: bool
    stopping: bool
    cards_per_min: float
    left_s: float | None
    tiles: tuple[Tile, ...]
    troubles: tuple[Trouble, ...]
    questions: tuple[Question, ...] = ()
    reseed: bool = False
    confirm: bool = False
    fault: str = ""

    @property
    def complete(self) -> bool:
        return self.done >= self.wanted


@dataclass
class _Run:
    batch: Batch
    plan: Plan
    thread: beside.Thread
    began: float
    tiles: dict[str, Tile] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    fault: str = ""


class Workshop:
    """At most one batch at a time. Implements batch.Listener."""

    def __init__(self, ready: ReadyStation) -> None:
        self._ready = ready
        self._lock = threading.Lock()
        self._run: _Run | None = None
        self.questions = Questions()

    def start(
        self, plan: Plan, count: int, ports: str, *, confirm: bool = False, by: str = ""
    ) -> None:
        """Go on with a batch, or begin it. confirm: have a person check button and display of
        each card. by: whose credential is at work at the desk, for the audit log. Raises
        BadInputError when one runs, and what the registry raises when cards could not be
        registered now."""
        if confirm:
            plan = replace(plan, confirm=self._ask)
        with self._lock:
            if self._run is not None and self._run.thread.is_alive():
                raise BadInputError(
                    f"Batch {self._run.plan.batch} is under way.", todo="Stop it first."
                )
            self._ready.registry.check()
            already = len(self._ready.journal.finished(plan.batch))
            source = source_for(ports)
            batch = Batch(self._ready.provisioner(plan), source, count, self, already=already)
            thread = beside.Thread(target=self._work, name="batch", daemon=True)
            self._run = _Run(batch, plan, thread, moments.steady())
            self._run.tiles = {port: Tile(port) for port in source.ports()}
        detail = [f"{count} cards", f"ports {ports}"]
        detail += ["new seeds for cards in service"] if plan.reseed else []
        detail += ["button and display are checked"] if confirm else []
        detail += [f"only the {len(plan.box)} cards of a box"] if plan.box is not None else []
        self._ready.journal.note("batch begun", plan.batch, ", ".join(detail), by=by)
        thread.start()

    def stop(self) -> None:
        """Cards under way are finished."""
        run = self._run
        if run is not None:
            run.batch.stop.set()

    def close(self) -> None:
        self.stop()
        self.questions.close()
        if self._run is not None and self._run.thread.is_alive():
            self._run.thread.join(30)

    def picture(self) -> Picture | None:
        """None when no batch was begun yet."""
        with self._lock:
            run = self._run
            if run is None:
                return None
            summary = run.batch.summary
            running = run.thread.is_alive()
            made = len(summary.outcomes)
            elapsed = moments.steady() - run.began if running else summary.elapsed_s
            rate = made / elapsed if elapsed else 0.0
            return Picture(
                name=run.plan.batch,
                wanted=summary.wanted,
                done=summary.already + made,
                running=running,
                stopping=running and run.batch.stop.is_set(),
                cards_per_min=rate * 60,
                left_s=summary.missing / rate if rate else None,
                tiles=tuple(run.tiles[port] for port in sorted(run.tiles)),
                troubles=tuple(run.troubles),
                questions=self.questions.pending(),
                reseed=run.plan.reseed,
                confirm=run.plan.confirm is not None,
                fault=run.fault,
            )

    def _work(self) -> None:
        run = self._run
        assert run is not None
        try:
            summary: Summary = run.batch.run()
            self._ready.journal.note(
                "batch ended",
                run.plan.batch,
                f"{len(summary.outcomes)} cards in service, {summary.missing} missing",
            )
        except Exception as error:  # told on the page: nobody looks at this thread
            run.fault = str(error) if isinstance(error, TallyError) else type(error).__name__
        finally:
            self._ready.custody.rest()

    def _ask(self, serial: str) -> str:
        """The port's thread waits here for a person; the tile tells of it."""
        with self._lock:
            assert self._run is not None
            ports = [port for port, tile in self._run.tiles.items() if tile.serial == serial]
        for port in ports:
            self._set(port, mood=Mood.TYPE)
        typed = self.questions.ask(serial)
        for port in ports:
            self._set(port, mood=Mood.WORKING)
        return typed

    # -- batch.Listener: from the threads of the ports -------------------------------------------

    def step(self, port: str, state: CardState, serial: str) -> None:
        if state is CardState.FAILED:
            return  # `failed` follows, with the reason
        step = STEPS.index(state) + 1 if state in STEPS else 0
        self._set(port, mood=Mood.WORKING, serial=serial, step=step, state=state)

    def press(self, port: str) -> None:
        self._set(port, mood=Mood.PRESS)

    def finished(self, port: str, outcome: Outcome) -> None:
        self.questions.forget(outcome.serial)
        with self._lock:
            assert self._run is not None
            done = self._run.tiles.get(port, Tile(port)).done + 1
        self._set(port, mood=Mood.DONE, serial=outcome.serial, step=len(STEPS), done=done)

    def failed(self, port: str, serial: str, error: TallyError) -> None:
        self.questions.forget(serial)
        with self._lock:
            assert self._run is not None
            failed = self._run.tiles.get(port, Tile(port)).failed + 1
            self._run.troubles.append(Trouble(port, serial, error))
        self._set(port, mood=Mood.FAILED, serial=serial, failed=failed)

    def empty(self, port: str) -> None:
        self._set(port, mood=Mood.EMPTY, serial="", step=0, state=CardState.SEEN)

    def _set(self, port: str, **changes: object) -> None:
        with self._lock:
            assert self._run is not None
            tile = self._run.tiles.get(port, Tile(port))
            self._run.tiles[port] = replace(tile, **changes)  # type: ignore[arg-type]
