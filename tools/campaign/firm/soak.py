"""One firm after the other, a seed each, on all processors, for as long as there is time. What was
done is kept in a file after each, and the next soak goes on from there."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.firm.run import FirmResult, simulate
from tallystick.tools.campaign.firm.script import SimulatedFirm
from tallystick.tools.campaign.firm.story import FirmLine

FORMAT = "tallystick firm soak 2"


@dataclass
class Soaked:
    """firm: which ones are soaked, without a seed. done: seeds whose firms have come to their end.
    found: of each violation, its line and what it says."""

    firm: str = ""
    done: list[int] = field(default_factory=list)
    simulated_hours: float = 0.0
    faults: int = 0
    acts: int = 0
    violations: int = 0
    found: list[tuple[str, str]] = field(default_factory=list)
    format: str = FORMAT

    @classmethod
    def read(cls, file: Path) -> Soaked:
        """Raises BadInputError for a file that is none."""
        if not file.exists():
            return cls()
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            assert value["format"] == FORMAT
            return cls(**value).checked()
        except (ValueError, TypeError, KeyError, AssertionError):
            raise BadInputError(
                f"{file} holds no soak.",
                kept="It was not touched.",
                todo="Name another file, or move it away to begin anew.",
            ) from None

    def checked(self) -> Soaked:
        """As it was kept. Raises ValueError."""
        figures = (self.simulated_hours, self.faults, self.acts, self.violations)
        numbers = all(isinstance(one, int | float) for one in figures)
        seeds = isinstance(self.done, list) and all(isinstance(one, int) for one in self.done)
        if not (numbers and seeds and isinstance(self.firm, str) and isinstance(self.found, list)):
            raise ValueError
        self.found = [(str(line), str(what)) for line, what in self.found]
        return self

    def must_be_of(self, firm: SimulatedFirm, file: Path) -> None:
        """A seed that is done says nothing of another firm. Raises BadInputError."""
        named = str(FirmLine(replace(firm, seed=0))).removesuffix(",seed=0")
        if self.firm not in ("", named):
            raise BadInputError(
                f"{file} holds a soak of other firms: {self.firm}.",
                kept="It was not touched.",
                todo="Name another file with --state, or soak the same firms.",
            )
        self.firm = named

    def add(self, result: FirmResult) -> None:
        self.done.append(result.firm.seed)
        self.simulated_hours = round(self.simulated_hours + result.simulated_hours, 2)
        self.faults += result.faults
        self.acts += result.acts
        self.violations += len(result.violations)
        line = str(FirmLine(result.firm))
        self.found += [(line, what) for what in result.violations]

    def keep(self, file: Path) -> None:
        """As a whole or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.new")
        draft.write_text(json.dumps(asdict(self)), encoding="utf-8")
        draft.replace(file)


def soak(
    firm: SimulatedFirm, image: Image, jobs: int, seconds: float, file: Path
) -> Iterator[Soaked]:
    """What was done so far, after each firm. firm: of the first seed. Raises BadInputError."""
    with _alone_with(file):
        so_far = Soaked.read(file)
        so_far.must_be_of(firm, file)
        so_far.keep(file)  # what cannot be kept is told before anything is done
        yield from _soak(so_far, firm, image, jobs, seconds, file)


@contextmanager
def _alone_with(file: Path) -> Iterator[None]:
    """Another soak would do the same seeds, and the last to keep what it did has it alone. Raises
    BadInputError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BadInputError(
            f"Another soak is at work with {file}.",
            kept="It goes on, and the file is its own.",
            todo="Wait for it, or name another file with --state.",
        ) from None
    try:
        yield
    finally:
        os.close(lock)


def _soak(
    so_far: Soaked, firm: SimulatedFirm, image: Image, jobs: int, seconds: float, file: Path
) -> Iterator[Soaked]:
    until = time.monotonic() + seconds
    following = firm.seed
    with worker_pool(jobs) as pool:
        running: set[Future[FirmResult]] = set()
        while True:
            while len(running) < jobs and time.monotonic() < until:
                if following not in so_far.done:
                    running.add(pool.submit(_one, replace(firm, seed=following), image))
                following += 1
            if not running:
                return
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for one in ended:
                so_far.add(one.result())
            so_far.keep(file)
            yield so_far


def _one(firm: SimulatedFirm, image: Image) -> FirmResult:
    result = simulate(firm, image=image)
    return replace(result, told=[])
