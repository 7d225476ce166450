"""What every store that is visited has in common: cells that read in one way or another while there
is power, and the way there."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ClassVar, Generic, Self, TypeVar

from tallystick.tools.campaign.proof.cells import Symbols
from tallystick.tools.campaign.proof.lives import Lives, Question
from tallystick.tools.campaign.proof.search import BrokenError

Told = tuple["Told", str] | None


class PoweredLife:
    """A store with power. now: how its cells read, -1 where it was not looked. changes: of its
    flash, so far."""

    __slots__ = ("cells", "changes", "now", "told")
    FIELDS: ClassVar[tuple[str, ...]] = __slots__

    def __init__(self, cells: tuple[int, ...]) -> None:
        self.cells = list(cells)
        self.now = [-1] * len(cells)
        self.changes = 0
        self.told: Told = None

    def copy(self) -> Self:
        other = object.__new__(type(self))
        for name in self.FIELDS:
            setattr(other, name, getattr(self, name))
        other.cells, other.now = self.cells[:], self.now[:]
        return other

    def answered(self, what: str) -> Self:
        other = self.copy()
        other.told = (self.told, what)
        return other


R = TypeVar("R", bound=Hashable)
L = TypeVar("L", bound=PoweredLife)


class PoweredWorld(Generic[R, L]):
    """The world of a store, whose questions are answered by its `_on_…`. CELL: what a cell is
    called. ENDLESS: so many changes of flash has no run."""

    CELL: ClassVar[str]
    ENDLESS: ClassVar[int]
    symbols: Symbols[R]
    lives: Lives[L]

    @property
    def walked(self) -> int:
        return self.lives.walked

    def told(self, what: Told) -> str:
        steps = []
        while what is not None:
            what, step = what
            steps.append(step)
        return "; ".join(reversed(steps))

    def _step(self, life: L, question: Question) -> list[tuple[Hashable, L]]:
        """The first word of a question says who answers it."""
        found = getattr(self, f"_on_{question[0]}")(life, *question[1:])
        return [(None, life)] if found is None else found

    def _on_broken(self, life: L, what: str) -> None:
        raise self._broken(life, what)

    def _on_read(self, life: L, number: int) -> list[tuple[Hashable, L]]:
        if life.now[number] >= 0:
            return [(life.now[number], life)]
        options = self.symbols.numbers(life.cells[number])
        if len(options) == 1:
            life.now[number] = options[0]
            return [(options[0], life)]
        found: list[tuple[Hashable, L]] = []
        for read in options:
            other = life.answered(f"{self.CELL} {number} reads {self.symbols[read]}")
            other.now[number] = read
            found.append((read, other))
        return found

    def _change(self, life: L, what: str) -> None:
        life.changes += 1
        if life.changes > self.ENDLESS:
            raise self._broken(life, f"it writes and writes: {what}")

    def _changed(self, life: L, name: Hashable, change: Callable[[R], R]) -> None:
        """Each way in which a cell may read, or reads, is another now. name: of the change."""
        life.cells = [self.symbols.changed(cell, name, change) for cell in life.cells]
        life.now = [
            self.symbols.changed(1 << one, name, change).bit_length() - 1 if one >= 0 else -1
            for one in life.now
        ]

    def _broken(self, life: L, what: str) -> BrokenError:
        error = BrokenError(what)
        error.told = self.told(life.told)
        return error
