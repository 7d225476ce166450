"""The life of somebody's own firmware on a cell: a span of it is run, its buttons are pressed, and
how long the cell lasts follows from what the parts took."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tallystick.common.errors import TallyError
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.devices.card import Card
from tallystick.emulator.interpreter import resident
from tallystick.emulator.parts.soldered.push_button import PushButton
from tallystick.tools.battery.life import MS_PER_DAY, MS_PER_YEAR, Life, Sample

_AWAKE_MS = 16 * 3_600_000
_SHORTEST_MS, _LONGEST_MS = 80, 300
_STEP_MS = 600_000
_HALVINGS = 20


class _Peak(Probe):
    """The highest current, µA."""

    def __init__(self) -> None:
        self.ua = 0.0

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        self.ua = max(self.ua, sum(currents_ua))


def live(
    card: Card,
    presses_per_day: int,
    years: float,
    *,
    seed: int = 0,
    on_day: Callable[[float], None] | None = None,
) -> Life:
    """Runs a powered board for `years`, at most until its cell starts it no more. Presses, of any
    of its buttons, fall at random in sixteen hours of each day. `on_day` hears the years so far.

    Raises TallyError when the firmware stops with an exception: what it takes then is no life.
    """
    life = Life(capacity_uah=card.cell.capacity_uah)
    rng, peak = random.Random(seed), _Peak()
    buttons = [part for part in card.fittings.parts if isinstance(part, PushButton)]
    card.attach(peak)
    began = time.perf_counter()
    end_ms = years * MS_PER_YEAR
    day = 0
    with resident.enabled():
        card.power_on()
        life.samples.append(_sample(card))
        while day * MS_PER_DAY < end_ms and not life.exhausted:
            moments = sorted(rng.randrange(_AWAKE_MS) for _ in range(presses_per_day))
            for ms in moments if buttons or card.fittings.kit else ():
                _run_to(card, min(day * MS_PER_DAY + ms, end_ms), life)
                if life.exhausted or day * MS_PER_DAY + ms > end_ms:
                    break
                _press(card, buttons, rng)
                life.presses += 1
            day += 1
            _run_to(card, min(day * MS_PER_DAY, end_ms), life)
            life.samples.append(_sample(card))
            if on_day is not None:
                on_day(card.clock.now / 1000 / MS_PER_YEAR)
    life.simulated_years = card.clock.now / 1000 / MS_PER_YEAR
    life.used_uah = {**card.supply.used_uah, "self-discharge": card.cell.self_discharged_uah}
    life.usable_uah = card.cell.used_uah if life.exhausted else _usable_uah(card, peak.ua)
    life.wall_seconds = time.perf_counter() - began
    if life.exhausted:
        life.last_code = life.simulated_years
    return life


def _press(card: Card, buttons: list[PushButton], rng: random.Random) -> None:
    ms = rng.randrange(_SHORTEST_MS, _LONGEST_MS)
    if buttons:
        rng.choice(buttons).do("press", ms)
        card.run_for(ms)
        return
    card.press(ms)


def _run_to(card: Card, ms: float, life: Life) -> None:
    """In steps, so that the end is found when it comes."""
    while (left := ms - card.clock.now / 1000) > 0 and card.powered:
        card.run_for(min(left, _STEP_MS))
        if card.mcu.state is ChipState.CRASHED:
            raise TallyError("The firmware has ended: there is no life to measure.")
    life.exhausted = not card.powered


def _sample(card: Card) -> Sample:
    mv = card.cell.voltage_mv(card.board.currents.run)
    return Sample(card.clock.now / 1000 / MS_PER_YEAR, mv, card.cell.used_uah)


def _usable_uah(card: Card, ua: float) -> float:
    """What can be taken until the highest current that there was pulls the cell below the voltage
    at which the chip stops."""
    cell, before = card.cell, card.cell.depth
    low, high = before, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        cell.set_depth(middle)
        if cell.voltage_mv(ua) >= card.board.brown_out_mv:
            low = middle
        else:
            high = middle
    cell.set_depth(before)
    return low * cell.capacity_uah
