"""How fast a life is run, on one core, and what a press takes from the cell."""

from __future__ import annotations

from typing import Any

from tallystick.emulator import boards
from tallystick.tools.battery.life import live
from tallystick.tools.bench.row import row
from tallystick.tools.fresh import card, one_core
from tallystick.tools.personalise import personalise

DAYS = 30
PRESSES_PER_DAY = 10
YEARS = 5


def measure() -> list[dict[str, Any]]:
    """Seconds for five years, from a month that is run whole; µAh a press."""
    with one_core(), card(boards.DEFAULT) as device:
        device.power_on()
        personalise(device)
        life = live(device, PRESSES_PER_DAY, DAYS / 365.25)
    seconds = life.wall_seconds * YEARS * 365.25 / DAYS
    charge = sum(life.press_uah.values()) / life.presses
    name = f"{YEARS} years of {PRESSES_PER_DAY} presses a day, {boards.DEFAULT}"
    return [
        row(f"battery: {name}", round(seconds, 1), "s wall, one core", "≤ 60"),
        row("battery: a press", round(charge, 4), "µAh", ""),
    ]
