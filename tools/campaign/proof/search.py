"""Visits every state of a small world until no new one appears.

A world runs on from a power-up, in every way that it may go (how a weak bit reads, whether a sector
wears out now), and tells what would be left if the power went there: the next states. A state is
not visited when one that can do all that it can, and more, came up as well. A violation is kept
with the way that leads to it.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class BrokenError(Exception):
    """A guarantee does not hold; the message says which, and what was seen. told: on the way."""

    told: str = ""


class World(Protocol[S]):
    """What is explored."""

    @property
    def walked(self) -> int:
        """Lives from a power-up on, so far."""

    def starts(self) -> Iterator[S]:
        """Where it begins."""

    def run(self, state: S) -> Iterator[tuple[Any, S]]:
        """From a power-up on: (where the power goes, what is left). Raises BrokenError."""

    def sets(self, state: S) -> tuple[Hashable, tuple[int, ...]]:
        """A state can do all that another can when the first of these is equal, and each set (a
        number, a bit for each member) holds that of the other."""

    def shown(self, state: S) -> str:
        """A state, the same in every run."""

    def told(self, what: Any) -> str:
        """Where the power went, in words."""


class Covers:
    """Finds a wider state among those that came."""

    def __init__(self) -> None:
        self._roots: dict[Hashable, dict[int, Any]] = {}

    def add(self, bucket: Hashable, sets: Sequence[int]) -> None:
        at = self._roots.setdefault(bucket, {})
        for one in sets:
            at = at.setdefault(one, {})

    def wider(self, bucket: Hashable, sets: tuple[int, ...]) -> bool:
        """Whether one other than this itself holds it."""
        root = self._roots.get(bucket)
        return root is not None and _holds(root, sets, 0, False)


def _holds(node: dict[int, Any], sets: tuple[int, ...], at: int, more: bool) -> bool:
    if at == len(sets):
        return more
    own = sets[at]
    for other, after in node.items():
        if own & other == own and _holds(after, sets, at + 1, more or own != other):
            return True
    return False


@dataclass
class SearchFinding(Generic[S]):
    """closed: no new state appeared: what was visited is all there is. states: visited; covered:
    not visited for a wider one. runs: lives from a power-up on, each with other answers. way: to
    the first violation, a line for each power-up; empty: none. digest: of all states that were
    visited."""

    states: int = 0
    covered: int = 0
    runs: int = 0
    closed: bool = False
    broken: str = ""
    way: list[str] = field(default_factory=list)
    digest: str = ""


Came = dict[S, tuple[S | None, Any]]


def visit(
    world: World[S],
    limit: int | None = None,
    tell: Callable[[int, int], None] = lambda done, waiting: None,
    covering: bool = True,
) -> SearchFinding[S]:
    """`limit`: states to visit at most. `tell`: where it stands. Wide states come first: they cover
    others; without `covering` all are visited."""
    found: SearchFinding[S] = SearchFinding()
    came: Came[S] = {}
    queue: list[tuple[int, int, S]] = []
    covers = Covers()
    names: list[bytes] = []

    def add(state: S, before: S | None, what: Any) -> None:
        if state in came:
            return
        came[state] = (before, what)
        bucket, sets = world.sets(state)
        covers.add(bucket, sets)
        heapq.heappush(queue, (-sum(one.bit_count() for one in sets), len(came), state))

    for start in world.starts():
        add(start, None, None)
    while queue and (limit is None or found.states < limit):
        state = heapq.heappop(queue)[2]
        if covering and covers.wider(*world.sets(state)):
            found.covered += 1
            continue
        found.states += 1
        names.append(hashlib.blake2b(world.shown(state).encode(), digest_size=16).digest())
        try:
            for what, after in world.run(state):
                add(after, state, what)
        except BrokenError as error:
            found.broken = str(error)
            found.way = [*_way(world, came, state), error.told]
            break
        tell(found.states, len(queue))
    found.runs = world.walked
    found.closed = not queue and not found.broken
    found.digest = hashlib.blake2b(b"".join(sorted(names)), digest_size=16).hexdigest()
    return found


def _way(world: World[S], came: Came[S], state: S) -> list[str]:
    steps: list[str] = []
    at: S | None = state
    while at is not None:
        before, what = came[at]
        if before is not None:
            steps.append(world.told(what))
        at = before
    return steps[::-1]
