"""A batch of boards: what each measured, and whether the line drifts.

Control charts for single values (Shewhart; ISO 7870-2): the centre is the mean, and a sigma is the
mean step between one board and the next, over 1.128. A line drifts when a value is more than three
sigma away, when nine in a row lie on one side of the centre, or when six in a row rise or fall.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean, stdev

from tallystick.common.errors import BadInputError
from tallystick.tools.selftest.limits import MOST, Limit, Limits

_STEP = 1.128  # expected range of two values of a normal distribution, in sigma
_FAR, _SIDE, _TREND = 3.0, 9, 6
_LEAST = 8  # boards, before anything is said of drift


@dataclass(frozen=True)
class BatchBoard:
    """One test of one board. time: ISO 8601. problems: what was outside of the limits."""

    serial: str
    time: str
    good: bool
    values: dict[str, float]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One measurement over a batch, in the order of the tests, all in the unit that its name says.
    drift: in words, a line each."""

    name: str
    serials: tuple[str, ...]
    values: tuple[float, ...]
    limit: Limit | None
    drift: tuple[str, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Of the sample; 0 of a single value."""
        return stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def sigma(self) -> float:
        """Of the control chart: from step to step."""
        steps = [abs(after - before) for before, after in pairwise(self.values)]
        return fmean(steps) / _STEP if steps else 0.0

    @property
    def capability(self) -> float | None:
        """Cpk, without a unit: how many times three deviations fit between mean and the nearer
        limit."""
        sides = []
        if self.limit is None or not self.deviation:
            return None
        if self.limit.low is not None:
            sides.append(self.mean - self.limit.low)
        if self.limit.high is not None:
            sides.append(self.limit.high - self.mean)
        return min(sides) / (3 * self.deviation)

    def outside(self) -> list[str]:
        """Serial numbers of the boards that the limit refuses."""
        if self.limit is None:
            return []
        limit = self.limit
        pairs = zip(self.serials, self.values, strict=True)
        return [serial for serial, value in pairs if limit.refuses(value)]


def append(path: Path, board: BatchBoard) -> None:
    """One JSON line. A file that another test writes to at the same time stays whole; behind a
    line that was cut this one begins anew."""
    line = {
        "serial": board.serial, "time": board.time, "good": board.good, "values": board.values,
        "problems": list(board.problems),
    }  # fmt: skip
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
        cut = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * cut + json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[BatchBoard]:
    """Raises BadInputError, with the line, for a file that is no batch."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}.") from None
    boards = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            values = {str(name): float(found) for name, found in value["values"].items()}
            if not all(abs(found) <= MOST for found in values.values()):  # a NaN is not
                raise ValueError(line)
            boards.append(
                BatchBoard(
                    str(value["serial"]), str(value["time"]), value["good"] is True, values,
                    tuple(map(str, value["problems"])),
                )
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise BadInputError(
                f"{path}, line {number}, is no test of a board.",
                kept="The file was not touched.",
                todo="Take the line out, if it was cut by a power failure.",
            ) from None
    if not boards:
        raise BadInputError(f"{path} has no board.")
    return boards


def series(boards: Sequence[BatchBoard], limits: Limits) -> list[Series]:
    """Every measurement of a batch, by name. The last test of a board counts."""
    last = {board.serial: board for board in boards}
    tested = sorted(last.values(), key=lambda board: board.time)
    found = []
    for name in sorted({name for board in tested for name in board.values}):
        having = [board for board in tested if name in board.values]
        values = tuple(board.values[name] for board in having)
        serials = tuple(board.serial for board in having)
        made = Series(name, serials, values, limits.get(name), ())
        found.append(Series(name, serials, values, limits.get(name), tuple(_drift(made))))
    return found


def _drift(one: Series) -> list[str]:
    if len(one.values) < _LEAST or not one.sigma:
        return []
    said = []
    far = [
        serial
        for serial, value in zip(one.serials, one.values, strict=True)
        if abs(value - one.mean) > _FAR * one.sigma
    ]
    if far:
        said.append(f"more than three sigma from the mean: {_few(far)}")
    longest = max(
        (len(list(run)), above)
        for above, run in groupby(one.values, key=lambda value: value > one.mean)
    )
    if longest[0] >= _SIDE:
        said.append(f"{longest[0]} in a row {'above' if longest[1] else 'below'} the mean")
    rising = [after > before for before, after in pairwise(one.values) if after != before]
    steps = max(((len(list(run)), up) for up, run in groupby(rising)), default=(0, False))
    if steps[0] >= _TREND - 1:
        said.append(f"{steps[0] + 1} in a row {'rise' if steps[1] else 'fall'}")
    return said


def _few(serials: list[str]) -> str:
    more = f" and {len(serials) - 3} more" if len(serials) > 3 else ""
    return ", ".join(serials[:3]) + more
