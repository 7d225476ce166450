"""What a press should draw: from asleep to asleep, by part, as the emulator has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tallystick.emulator.boards.board import Board
from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.chip.probe import Probe
from tallystick.emulator.devices.card import Card
from tallystick.tools.battery.traces import CurrentTrace, Floats

ASLEEP, RUNNING, LIGHT = "asleep", "chip running", "chip in light sleep"
_BEFORE_MS, _AFTER_MS, _LIMIT_MS = 500, 500, 90_000


@dataclass(frozen=True)
class Prediction:
    """`parts_ua` has a row a step of `trace` and a column a part; a row's sum is the trace's."""

    parts: tuple[str, ...]
    trace: CurrentTrace
    parts_ua: Floats


class _Steps(Probe):
    def __init__(self) -> None:
        self.times: list[float] = []
        self.rows: list[list[float]] = []

    def current(self, now_us: int, duration_us: int, currents_ua: list[float]) -> None:
        if not self.rows or self.rows[-1] != currents_ua:
            self.times.append(now_us / 1000)
            self.rows.append(list(currents_ua))


def predict(card: Card, press_ms: int) -> Prediction:
    """Presses a sleeping, personalised card."""
    steps = _Steps()
    card.attach(steps)
    card.run_for(_BEFORE_MS)
    card.press(press_ms)
    card.run_until(lambda: card.mcu.state is ChipState.ASLEEP, _LIMIT_MS)
    card.run_for(_AFTER_MS)
    loads = dict(zip(card.supply.names, np.array(steps.rows).T, strict=True))
    parts = _parts(card.board, loads)
    times = np.append(np.array(steps.times), card.clock.now / 1000)
    columns = np.array(list(parts.values())).T
    columns = np.vstack([columns, columns[-1]])
    return Prediction(tuple(parts), CurrentTrace(times - times[0], columns.sum(axis=1)), columns)


def _parts(board: Board, loads: dict[str, Floats]) -> dict[str, Floats]:
    """What a trace can tell apart: the chip by its states, and sleep with what leaks meanwhile."""
    chip, sleep = loads["chip"], loads["chip asleep"]
    light = np.isclose(chip, board.currents.light_sleep)
    asleep = sleep > 0
    leakage = loads["leakage"]
    return {
        RUNNING: np.where(light, 0.0, chip + np.where(asleep, 0.0, leakage)),
        LIGHT: np.where(light, chip + leakage, 0.0),
        ASLEEP: np.where(asleep, sleep + leakage, 0.0),
        "flash": loads["flash"],
        "display": loads["display"],
        "button": loads["button"],
    }
