"""The self-test as an acceptance test: what a firm allows, measurement by measurement."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.tools.selftest.checks import CheckVerdict, TestedBoard

_LIMIT = {"low", "high"}
MOST = 1e100  # of a limit or a measurement, whatever its unit: sums and squares stay finite
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Limit:
    """Of one measurement, in its unit; a side that is None is open."""

    low: float | None
    high: float | None

    def refuses(self, value: float) -> str:
        """What is wrong with a value, in the unit of its limit; or nothing."""
        if self.low is not None and not value >= self.low:
            return f"{value:g} is below {self.low:g}"
        if self.high is not None and not value <= self.high:
            return f"{value:g} is above {self.high:g}"
        return ""


Limits = dict[str, Limit]
"""Measurement → what is allowed."""


def read_limits(path: Path) -> Limits:
    """A TOML file: `[cell_mv]`, `low = 2900`, `high = 3300`. Raises BadInputError."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is not TOML: {error}.") from None
    limits = {}
    for name, sides in value.items():
        if not NAME.fullmatch(name) or not isinstance(sides, dict) or set(sides) - _LIMIT:
            raise _bad(path, f"[{name}] may have low and high, and nothing else")
        low, high = (sides.get(side) for side in ("low", "high"))
        for side in (low, high):
            if side is not None and not _is_number(side):
                raise _bad(path, f"[{name}] has a limit that is no number")
        if low is None and high is None:
            raise _bad(path, f"[{name}] limits nothing")
        if low is not None and high is not None and not low <= high:
            raise _bad(path, f"[{name}] allows nothing: low is above high")
        limits[name] = Limit(low, high)
    if not limits:
        raise _bad(path, "it limits nothing")
    return limits


def _is_number(value: object) -> bool:
    """No infinite one either, nor one whose square is: it could not be drawn or reckoned with."""
    return not isinstance(value, bool) and isinstance(value, int | float) and abs(value) <= MOST


def _bad(path: Path, what: str) -> BadInputError:
    return BadInputError(
        f"The limits {path}: {what}.",
        kept="Nothing was tested.",
        todo="Write, for example, [cell_mv] with low = 2900.",
    )


def measured(board: TestedBoard) -> dict[str, float]:
    """What a self-test measured, by name: numbers of its checks, and how long each took."""
    values: dict[str, float] = {}
    for check in board.checks:
        values |= check.values
        if check.verdict is not CheckVerdict.SKIPPED:
            values[f"{check.name}_s"] = check.seconds
    return values


def problems(
    board: TestedBoard, limits: Limits, others: Mapping[str, float] | None = None
) -> list[str]:
    """Everything that is outside of what is allowed. What is limited and was not measured is: a
    probe that was not connected must not pass a board. others: of other instruments, by name."""
    values = measured(board) | dict(others or {})
    found = [
        f"{check.name}: {check.detail}"
        for check in board.checks
        if check.verdict is CheckVerdict.FAILED
    ]
    for name, limit in limits.items():
        if name not in values:
            found.append(f"{name} was not measured")
            continue
        wrong = limit.refuses(values[name])
        if wrong:
            found.append(f"{name}: {wrong}")
    return found
