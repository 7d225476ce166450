"""Many cards on one clock, in one process tree.

A card that sleeps, or has no cell, has no process and nothing to do: its own time is brought up to
the fleet's when somebody takes it in hand, which gives the same as if it had been run all along.
Of its flash only the pages that are not as in the image are kept meanwhile.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from typing import TypeVar

from tallystick.common.closing import Closing
from tallystick.common.identity import Identity
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.chip.trace import Trace
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.emulator.parts.flash_memory import FlashPool

T = TypeVar("T")

_FILES_EACH = 2  # console, and flash while it is awake
_FILES_SPARE = 256
_EVENTS_EACH = 200  # the last ones, of its trace


class Fleet(Closing):
    """`count` factory-fresh cards with serial numbers in sequence. Times in µs of virtual time."""

    def __init__(self, image: Image, count: int, *, first: int = 1, seed: int = 0) -> None:
        _allow_files(count * _FILES_EACH + _FILES_SPARE)
        self.now_us = 0
        self.pool = FlashPool(image.content())
        self._awake: dict[Card, None] = {}  # in the order in which they woke
        self.cards: list[Card] = []
        for number in range(count):
            card = Card(
                image,
                identity=Identity.derive(f"TS{first + number:08}", 20260101).encode(),
                seed=seed + number,
                trace=Trace(_EVENTS_EACH),
                pool=self.pool,
            )
            self.cards.append(card)
            self.with_card(card, Card.power_on)

    def close(self) -> None:
        for card in self.cards:
            card.close()
        self.pool.close()

    def __iter__(self) -> Iterator[Card]:
        return iter(self.cards)

    def with_card(self, card: Card, action: Callable[[Card], T]) -> T:
        """Brings the card up to the fleet's time, does something with it, and lets the fleet's time
        go on by as much."""
        self._bring_up(card)
        result = action(card)
        self.now_us = max(self.now_us, card.clock.now)
        self._look_after(card)
        return result

    def pass_time(self, ms: float) -> None:
        """For all. Cards that are awake run now; the others when they are next taken in hand."""
        self.now_us += round(ms * 1000)
        for card in list(self._awake):
            self._bring_up(card)
            self._look_after(card)

    def processes(self) -> int:
        """Firmware processes that exist now."""
        return sum(card.mcu.state is ChipState.RUNNING for card in self.cards)

    def _bring_up(self, card: Card) -> None:
        if card.clock.now < self.now_us:
            card.run_to(self.now_us)

    def _look_after(self, card: Card) -> None:
        if card.mcu.state is ChipState.RUNNING:
            self._awake[card] = None
        else:
            self._awake.pop(card, None)
            card.flash.put_away()


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
