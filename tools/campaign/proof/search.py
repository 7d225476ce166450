"""Visits every state of a small world until no new one appears.

A world runs on from a power-up. Wherever something may go one way or another (how a weak bit reads,
whether a sector wears out now) it asks `Choices`, and the run is repeated until every answer was
given. On its way it tells what would be left if the power went there: the next states. A state is
not visited when one that can do all that it can, and more, was. A violation is kept with the way
that leads to it.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)
T = TypeVar("T")


class BrokenError(Exception):
    """A guarantee does not hold; the message says which, and what was seen."""


class Choices:
    """The answers of one run: those that are given, then the first of each."""

    def __init__(self, given: Sequence[int]) -> None:
        self._given = given
        self.made: list[int] = []
        self.of: list[int] = []  # so many answers there were
        self.told: list[str] = []

    def one(self, what: str, options: Sequence[T]) -> T:
        """One of these. `what`: for whoever reads the way to a violation."""
        at = len(self.made)
        number = self._given[at] if at < len(self._given) else 0
        self.made.append(number)
        self.of.append(len(options))
        self.told.append(f"{what}: {options[number]}")
        return options[number]


class World(Protocol[S]):
    """What is explored."""

    def starts(self) -> Iterator[S]:
        """Where it begins."""

    def run(self, state: S, choices: Choices) -> Iterator[tuple[str, S]]:
        """From a power-up on: (where the power goes, what is left). Raises BrokenError."""

    def told_by(self, state: S) -> Iterator[S]:
        """The states that stand for what is left."""

    def wider(self, state: S) -> Iterator[S]:
        """States that can do all that this one can."""


@dataclass
class SearchFinding(Generic[S]):
    """closed: no new state appeared: what was visited is all there is. states: visited; covered:
    not visited for a wider one. runs: from a power-up on, each with other answers. way: to the
    first violation, a line for each power-up; empty: none.
    digest: of all states, whatever their order."""

    states: int = 0
    covered: int = 0
    runs: int = 0
    closed: bool = False
    broken: str = ""
    way: list[str] = field(default_factory=list)
    digest: str = ""


def visit(
    world: World[S],
    limit: int | None = None,
    tell: Callable[[int, int], None] = lambda done, waiting: None,
) -> SearchFinding[S]:
    """`limit`: states to visit at most. `tell`: where it stands. Wide states come first: they cover
    others."""
    found: SearchFinding[S] = SearchFinding()
    came: dict[S, tuple[S | None, tuple[str, ...]]] = {}
    queue: list[tuple[int, int, S]] = []
    for start in world.starts():
        came[start] = (None, ())
        heapq.heappush(queue, (0, len(came), start))
    while queue and (limit is None or found.states < limit):
        state = heapq.heappop(queue)[2]
        if any(other in came for other in world.wider(state)):
            found.covered += 1
            continue
        found.states += 1
        broken = _visit(world, state, found, came, queue)
        if broken:
            found.broken = broken
            break
        tell(found.states, len(queue))
    found.closed = not queue and not found.broken
    names = sorted(hashlib.blake2b(repr(one).encode(), digest_size=16).digest() for one in came)
    found.digest = hashlib.blake2b(b"".join(names), digest_size=16).hexdigest()
    return found


def _visit(
    world: World[S],
    state: S,
    found: SearchFinding[S],
    came: dict[S, tuple[S | None, tuple[str, ...]]],
    queue: list[tuple[int, int, S]],
) -> str:
    """Every run from here; what is broken, or nothing."""
    given: list[int] = []
    while True:
        choices = Choices(given)
        found.runs += 1
        try:
            for what, left in world.run(state, choices):
                for after in world.told_by(left):
                    if after not in came:
                        came[after] = (state, (what,))
                        heapq.heappush(queue, (-len(repr(after)), len(came), after))
        except BrokenError as error:
            found.way = [*_way(came, state), "; ".join(choices.told)]
            return str(error)
        # The last answer that has another after it.
        made, of = choices.made, choices.of
        at = len(made) - 1
        while at >= 0 and made[at] + 1 == of[at]:
            at -= 1
        if at < 0:
            return ""
        given = [*made[:at], made[at] + 1]


def _way(came: dict[S, tuple[S | None, tuple[str, ...]]], state: S) -> list[str]:
    steps: list[str] = []
    at: S | None = state
    while at is not None:
        before, told = came[at]
        if before is not None:
            steps = [*told, *steps]
        at = before
    return steps
