"""Power cuts in a firmware of one's own: `tally campaign powercut --firmware … --invariants FILE`.

FILE is Python with two functions. `scenario(board)` does what is interrupted; `check(board)` is
called after each cut, on a board that has just been given its power back, and asserts what must
hold. `board` is an emulated `Card` with the parts of board.toml.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from tallystick import faults
from tallystick.common.errors import BadInputError, TallyError
from tallystick.common.modules import load_module
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.project import Project
from tallystick.emulator.interpreter import resident
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tallystick.tools.image.folder import of_project

_NAMES = ("scenario", "check")


@dataclass
class OwnResult:
    """What `--json` prints. lines: of a violation, the cuts that lead to it: `3p44`, `3b/0h`."""

    operations: int = 0
    cuts: int = 0
    violations: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0


class _GoneError(Exception):
    """The board has lost its power: the rest of the scenario does not happen."""


@dataclass(frozen=True)
class _Invariants:
    scenario: Callable[[Card], Any]
    check: Callable[[Card], Any]


def invariants(file: Path) -> _Invariants:
    """The two functions. Raises BadInputError."""
    module: ModuleType = load_module(file, "tally_invariants")
    found = {name: getattr(module, name, None) for name in _NAMES}
    missing = [name for name in _NAMES if not callable(found[name])]
    if missing:
        raise BadInputError(
            f"{file} has no function {missing[0]}(board).",
            kept="Nothing was started.",
            todo="docs/guides/bench.md has an example.",
        )
    return _Invariants(**found)  # type: ignore[arg-type]


class OwnCampaign:
    """depth: cuts in a row, 1 or 2; the second in the start after the first. sample: part of the
    torn states. seed: of every random choice."""

    def __init__(
        self, project: Project, file: Path, *, depth: int, sample: float, seed: int
    ) -> None:
        self._project, self._depth, self._sample, self._seed = project, depth, sample, seed
        self._image: Image = of_project(project)
        self._invariants = invariants(file)
        self.result = OwnResult()

    def run(self, tell: Callable[[int, int], None] = lambda done, total: None) -> OwnResult:
        """Cuts at every operation of the scenario. Raises TallyError when it fails without a
        cut: there is nothing to compare with then."""
        began = time.monotonic()
        with resident.enabled():
            operations = self._operations(())
            self.result.operations = len(operations)
            for number, operation in enumerate(operations):
                tell(number, len(operations))
                for variant in self._variants(operation):
                    self._try((f"{number}{variant}",))
        self.result.seconds = round(time.monotonic() - began, 2)
        return self.result

    def replay(self, line: str) -> OwnResult:
        """One line again. Raises BadInputError for one that is none."""
        steps = tuple(line.split("/"))
        for step in steps:
            _parsed(step)
        with resident.enabled():
            self._judge(steps)
        return self.result

    def _variants(self, operation: FlashOperation) -> list[str]:
        rng = random.Random(f"{self._seed} {operation.index}")
        return [
            variant
            for variant in faults.variants(operation, rng, full=self._sample == 1)
            if faults.clean(variant) or rng.random() < self._sample
        ]

    def _try(self, steps: tuple[str, ...]) -> None:
        if not self._judge(steps) or len(steps) >= self._depth:
            return
        for number, operation in enumerate(self._operations(steps)):
            for variant in self._variants(operation):
                if faults.clean(variant):
                    self._judge((*steps, f"{number}{variant}"))

    def _judge(self, steps: tuple[str, ...]) -> bool:
        """Leads a board there, gives it power, and checks. True when all holds."""
        self.result.cuts += 1
        with self._board() as board:
            try:
                self._lead(board, steps)
                board.power_on()
                self._invariants.check(board)
            except Exception as error:  # of the firmware, of the file
                self._violation(steps, error)
                return False
        return True

    def _operations(self, steps: tuple[str, ...]) -> list[FlashOperation]:
        """Of the scenario, or of the start that follows these cuts."""
        found: list[FlashOperation] = []
        with self._board() as board:
            try:
                if steps:
                    self._lead(board, steps)
                board.flash.fault_plan = found.append
                board.power_on()
                if not steps:
                    self._invariants.scenario(board)
            except Exception as error:
                if steps:
                    return found
                raise TallyError(
                    f"Without any cut the scenario fails: {_told(error)}",
                    kept="Nothing was cut.",
                    todo="Mend the firmware, or the scenario.",
                ) from error
        return found

    def _lead(self, board: Card, steps: tuple[str, ...]) -> None:
        """Each step cuts at its operation of the start after the one before."""
        for number, step in enumerate(steps):
            at, variant = _parsed(step)
            first = board.flash.operations

            def plan(operation: FlashOperation, at: int = first + at, v: str = variant) -> Any:
                if operation.index != at:
                    return None
                left = faults.apply(v, operation)
                return Cut(Phase.DURING, left.content, left.weak)

            board.flash.fault_plan = plan
            try:
                board.power_on()
                if not number:
                    self._invariants.scenario(_Stopping(board))  # type: ignore[arg-type]
            except _GoneError:
                pass
            finally:
                board.flash.fault_plan = None
            board.power_off()

    def _board(self) -> Card:
        return Card(self._image, seed=self._seed, fittings=self._project.fittings())

    def _violation(self, steps: tuple[str, ...], error: Exception) -> None:
        self.result.violations.append({"line": "/".join(steps), "what": _told(error)})


class _Stopping:
    """The board in a scenario's hands: nothing more is done once its power is gone."""

    def __init__(self, board: Card) -> None:
        self._board = board

    def __getattr__(self, name: str) -> Any:
        if not self._board.powered:
            raise _GoneError
        return getattr(self._board, name)


def _parsed(step: str) -> tuple[int, str]:
    """Number of the operation, and fault. Raises BadInputError."""
    variant = step.lstrip("0123456789")
    try:
        faults.check(variant)
        return int(step[: len(step) - len(variant)]), variant
    except ValueError:
        raise BadInputError(
            f"{step!r} is no step of a campaign's line.", todo="It looks like 3p44: copy it whole."
        ) from None


def _told(error: Exception) -> str:
    """What was raised, and the line of the person's file that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    if isinstance(error, TallyError):
        return error.what
    words = str(error).strip() or (frames[-1].line if frames else "") or type(error).__name__
    return f"{words}{where}"
