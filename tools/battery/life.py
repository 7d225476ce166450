"""A card's life on a cell: every press is run, in virtual time, until the cell or the years end."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.interpreter import resident
from tallystick.emulator.seeing.frames import Frame

MS_PER_DAY = 86_400_000
MS_PER_YEAR = 365.25 * MS_PER_DAY
_WAKING_MS = 16 * 3_600_000
_SETTLED_MS = 45_000  # longer than any screen stays up
_LONGER_MS = 600  # of a press; no card takes it for a hold
_FULL_LOOK = 500  # presses between two readings of the whole code, while the cell is good
_HALVINGS = 9


@dataclass(frozen=True)
class Sample:
    """The cell at one press: `mv` at the chip's running current, `used_uah` since it was new."""

    years: float
    mv: int
    used_uah: float


@dataclass
class Life:
    """What happened. Times in years of virtual time, charges in µAh."""

    simulated_years: float = 0.0
    presses: int = 0
    codes: int = 0
    first_low: float | None = None
    last_code: float | None = None
    exhausted: bool = False  # the card refused a code, or the cell no longer started it
    used_uah: dict[str, float] = field(default_factory=dict)  # by part, and "self-discharge"
    press_uah: dict[str, float] = field(default_factory=dict)  # by part, beyond what sleep takes
    capacity_uah: float = 0.0
    usable_uah: float = 0.0  # until the card refuses a code
    samples: list[Sample] = field(default_factory=list)
    wall_seconds: float = 0.0


def live(
    card: Card,
    presses_per_day: int,
    years: float,
    *,
    seed: int = 0,
    on_day: Callable[[float], None] | None = None,
) -> Life:
    """Presses the button of a sleeping, personalised card through its life.

    Presses fall at random in sixteen waking hours and last 80 to 300 ms. Ends with the years, or
    with the first press that the cell cannot answer any more. `on_day` hears the years so far.
    """
    gc.disable()  # it would look at the same objects again and again
    try:
        with resident.enabled():
            return _live(card, presses_per_day, years, seed, on_day)
    finally:
        gc.enable()


def _live(
    card: Card,
    presses_per_day: int,
    years: float,
    seed: int,
    on_day: Callable[[float], None] | None,
) -> Life:
    life = Life(capacity_uah=card.cell.capacity_uah)
    rng = random.Random(seed)
    began = time.perf_counter()
    days = round(years * 365.25)
    each_day = range(presses_per_day)
    sample_every = max(1, days * presses_per_day // 400)
    press_uah = [0.0] * len(card.supply.names)
    for day in range(days):
        at = sorted(rng.randrange(_WAKING_MS - 60_000) for _ in each_day)
        for number, ms in enumerate(at):
            now_ms = card.clock.now // 1000
            due_ms = max(day * MS_PER_DAY + ms, now_ms + 1000)
            card.run_for(due_ms - now_ms)
            _press(card, rng.randrange(80, 300), life, press_uah)
            if life.exhausted:
                break
            if life.presses % sample_every == 0 or number == day == 0:
                life.samples.append(_sample(card))
        if on_day is not None:
            on_day(card.clock.now / 1000 / MS_PER_YEAR)
        if life.exhausted:
            break
    if not life.exhausted:
        card.run_for(max(0, days * MS_PER_DAY - card.clock.now // 1000))
    life.samples.append(_sample(card))
    life.simulated_years = card.clock.now / 1000 / MS_PER_YEAR
    life.used_uah = {**card.supply.used_uah, "self-discharge": card.cell.self_discharged_uah}
    life.press_uah = dict(zip(card.supply.names, press_uah, strict=True))
    life.wall_seconds = time.perf_counter() - began
    life.usable_uah = card.cell.used_uah if life.exhausted else _usable_uah(card)
    return life


def _sample(card: Card) -> Sample:
    mv = card.cell.voltage_mv(card.board.currents.run)
    return Sample(card.clock.now / 1000 / MS_PER_YEAR, mv, card.cell.used_uah)


def _press(card: Card, ms: int, life: Life, press_uah: list[float]) -> None:
    asleep = card.supply.currents_ua()
    before = card.supply.used_uah.values()
    began = card.clock.now
    card.press(ms)
    if card.powered and card.frame().blank:
        card.press(_LONGER_MS)  # a slow chip had not looked yet; a person tries again
    years = card.clock.now / 1000 / MS_PER_YEAR
    life.presses += 1
    frame = card.frame()
    low = says_low(frame.pixels, frame.width)
    if low and life.first_low is None:
        life.first_low = years
    usual = life.first_low is None and _has_time_bar(frame)
    shows_code = usual
    if not usual or life.presses % _FULL_LOOK == 1:
        shows_code = card.read_code() is not None
    if shows_code:
        life.codes += 1
        life.last_code = years
    else:
        life.exhausted = True
    _settle(card)
    # What sleep would have taken in the same time is not the press's.
    hours = (card.clock.now - began) / 3_600_000_000
    after = card.supply.used_uah.values()
    for number, (old, new, idle) in enumerate(zip(before, after, asleep, strict=True)):
        press_uah[number] += new - old - idle * hours


def _settle(card: Card) -> None:
    began = card.clock.now
    card.run_for(_SETTLED_MS)
    while card.mcu.state is ChipState.RUNNING and card.clock.now - began < 600_000_000:
        card.run_for(1000)


def _usable_uah(card: Card) -> float:
    """What can be taken until the card shows no code any more: found by pressing it at other depths
    of discharge."""
    before = low = card.cell.depth
    high = 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        card.cell.set_depth(middle)
        card.press(200)
        if card.read_code() is not None:
            low = middle
        else:
            high = middle
        if not card.powered:
            card.cell.set_depth(low)
            card.power_on()
        _settle(card)
    card.cell.set_depth(before)
    return low * card.cell.capacity_uah


def _has_time_bar(frame: Frame) -> bool:
    """At the foot of the glass, as under every code."""
    return 1 in frame.pixels[-frame.width * (frame.height // 8) :]


def says_low(pixels: bytes, width: int) -> bool:
    """The words of the low cell stand top left, where a code's screen has nothing otherwise."""
    return any(1 in pixels[y * width + 2 : y * width + 80] for y in range(2, 10))
