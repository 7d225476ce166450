"""What the panel does to a card, and what it sees of it. Functions of a module: a card may live in
another process."""

from __future__ import annotations

from typing import Any

from tallystick.emulator.devices.card import Card
from tallystick.emulator.instruments.flash_map import sectors
from tallystick.emulator.panel.meter import Meter
from tallystick.emulator.panel.parts import PartsRow
from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase

WINDOW_S = 40.0
EVENTS = 200
_CONSOLE = 2_000  # characters of what the firmware printed


def hold_down(card: Card) -> None:
    if not card.button.down:
        card.hold_down()


def let_go(card: Card) -> None:
    if card.button.down:
        card.let_go()


def drain(depth: float, card: Card) -> None:
    """depth: the part of the cell that is used, 0 to 1."""
    card.cell.set_depth(depth)


def swap_cell(card: Card) -> None:
    """Pulls the cell, or puts one in."""
    if card.powered:
        card.power_off()
    else:
        card.power_on()


def cut_power(phase: Phase, card: Card) -> None:
    """At the next flash operation."""
    flash = card.flash

    def plan(operation: FlashOperation) -> Cut:
        flash.fault_plan = None
        half = len(operation.new) // 2
        return Cut(phase, content=operation.new[:half] + operation.old[half:])

    flash.fault_plan = plan


def uses(card: Card) -> list[str]:
    """What the flash is used for, in the order of its addresses."""
    return list({one.use: None for one in sectors(card.board, card.flash)})


def look(known: str, slowly: bool, card: Card) -> dict[str, Any]:
    """known: SHA-256 of the frame that is shown already. slowly: the flash, too."""
    frame = card.frame()
    digest = frame.sha256()
    meter = next(one for one in card.mcu.probes if isinstance(one, Meter))
    seen: dict[str, Any] = {
        "frame": digest,
        "state": card.mcu.state,
        "docked": card.mcu.uart.on_send is not None or (card.fittings.kit and card.supply.docked),
        "mv": card.supply.voltage_mv() if card.powered else 0,
        "ua": card.supply.current_ua() if card.powered else 0.0,
        "code": card.read_code() if digest != known else None,
        "blank": frame.blank,
        "parts": PartsRow.look(card),
        "now_us": card.clock.now,
        "depth": card.cell.depth,
        "used_uah": card.cell.used_uah,
        "powered": card.powered,
        "points": meter.window(card.clock.now, WINDOW_S),
        "console": card.console[-_CONSOLE:],
        "events": list(card.trace.events)[-EVENTS:],
    }
    if digest != known:
        seen["png"] = frame.png(scale=3, palette=card.palette, margin=3)
    if slowly:
        seen["sectors"] = sectors(card.board, card.flash)
    return seen
