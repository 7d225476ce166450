"""Every fault under every change of flash that a store makes at its work, and under those that it
makes when it starts again.

    for case in search(store, kinds="bapst", seed=1): …

A line (`3p44`, `3p44/0b`) names one: number of the change, fault; then of those after the cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tallystick.faults import kinds as faults
from tallystick.faults.flash import Change, FaultyFlash, PowerLostError


class Store(Protocol):
    """What is put on the flash. It keeps for itself what was promised so far."""

    def flash(self) -> FaultyFlash:
        """A new one, as the work finds it. Nothing was promised but what is on it."""

    def work(self, flash: FaultyFlash) -> None:
        """Changes the store, and notes what was promised. Raises PowerLostError."""

    def recover(self, flash: FaultyFlash) -> str:
        """Starts, looks, and is used. What does not hold of what was promised; empty: all does.
        Raises PowerLostError."""


@dataclass(frozen=True)
class Case:
    """line: names it. broken: what does not hold; empty: all does."""

    line: str
    kind: str
    broken: str


def search(store: Store, kinds: str, seed: int = 1, second: int = 0) -> Iterator[Case]:
    """All faults of these kinds at every change. `second`: so many cuts of each recovery as well,
    before or after a change."""
    for number, variant in _of_work(store, kinds, seed):
        yield case(store, (f"{number}{variant}",), seed)
        if not second:
            continue
        count = _changes_of_recovery(store, (f"{number}{variant}",), seed)
        drawn = random.Random(f"{seed} {number}{variant}")
        cuts = [f"{at}{clean}" for at in range(count) for clean in "ba"]
        for cut in sorted(drawn.sample(cuts, min(second, len(cuts)))):
            yield case(store, (f"{number}{variant}", cut), seed)


def _of_work(store: Store, kinds: str, seed: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []

    def note(number: int, change: Change) -> None:
        number -= first
        rng = random.Random(f"{seed} {number}")
        several = faults.rotten(change, rng) if "r" in kinds else ()
        found.extend(
            (number, one) for one in (*faults.variants(change, rng), *several) if one[0] in kinds
        )

    flash = store.flash()
    first = flash.operations
    flash.plan = note
    store.work(flash)
    return found


def _changes_of_recovery(store: Store, path: tuple[str, ...], seed: int) -> int:
    flash = _reached(store, path, seed)
    before = flash.operations
    store.recover(flash)
    return flash.operations - before


def case(store: Store, path: tuple[str, ...], seed: int = 1) -> Case:
    """One line, taken apart. Raises NoFaultError for one that names no fault, ValueError for one
    that the store does not come to."""
    flash = _reached(store, path, seed)
    return Case("/".join(path), _split(path[0])[1][0], store.recover(flash))


def _reached(store: Store, path: tuple[str, ...], seed: int) -> FaultyFlash:
    """The flash as the last fault has left it, with the power back."""
    rng = random.Random(f"{seed} {path}")
    flash = store.flash()
    for depth, step in enumerate(path):
        wanted, variant = _split(step)
        flash.plan = _Plan(flash.operations + wanted, variant)
        try:
            if depth == 0:
                store.work(flash)
            else:
                store.recover(flash)
        except PowerLostError:
            pass
        else:
            if variant != "f":
                raise ValueError(f"{step}: there is no change {wanted}")
        flash.plan = lambda _number, _change: None
        flash.power_up(rng)
    return flash


@dataclass(frozen=True)
class _Plan:
    number: int
    variant: str

    def __call__(self, number: int, change: Change) -> str | None:
        return self.variant if number == self.number else None


def _split(step: str) -> tuple[int, str]:
    variant = step.lstrip("0123456789")
    faults.check(variant)
    if variant == step:
        raise faults.NoFaultError(f"{step!r} names no change.")
    return int(step[: len(step) - len(variant)]), variant
