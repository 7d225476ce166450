"""A campaign's line: what a violation is called, and what replays it.

BOARD/SCENARIO/SEED/STEP/STEP…      each step: number of a flash operation, and a fault
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick import faults
from tallystick.common.errors import BadInputError
from tallystick.emulator import boards


@dataclass(frozen=True)
class Line:
    """`path`: the first step is an operation of the scenario, the next ones of the recovery from
    the cut before. None: it fails without a cut."""

    board: str
    scenario: str
    seed: int
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Line:
        """Raises BadInputError."""
        board, *rest = text.strip().split("/")
        if len(rest) < 2 or not rest[1].removeprefix("-").isdecimal():
            raise no_line(text)
        return cls(board, rest[0], int(rest[1]), tuple(rest[2:]))

    def steps(self) -> list[tuple[int, str]]:
        """The path's, taken apart. Raises BadInputError."""
        try:
            steps = [split(step) for step in self.path]
            for _, variant in steps:
                faults.check(variant)
        except ValueError:
            raise no_line(str(self)) from None
        return steps

    def __str__(self) -> str:
        return "/".join((self.board, self.scenario, str(self.seed), *self.path))


def split(step: str) -> tuple[int, str]:
    """A step of a path: number of the operation, and fault. Raises ValueError."""
    variant = step.lstrip("0123456789")
    return int(step[: len(step) - len(variant)]), variant


def no_line(text: str) -> BadInputError:
    return BadInputError(
        f"{text!r} is no line of a campaign.",
        todo=f"It looks like {boards.KIT}/press/1/3p44: copy it whole.",
    )
